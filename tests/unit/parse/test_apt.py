from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.apt import Policy, parse_candidates, parse_policy

POLICY = """\
nvidia-driver-cuda:
  Installed: 550.163.01-1
  Candidate: 550.163.01-1
  Version table:
     580.178.04-1 500
        500 http://mirror/cuda/debian12/x86_64  Packages
 *** 550.163.01-1 1001
        500 http://mirror/cuda/debian12/x86_64  Packages
        100 /var/lib/dpkg/status
linux-headers-amd64:
  Installed: (none)
  Candidate: (none)
  Version table:
N: Unable to locate package nvidia-open
"""


def test_each_package_has_its_candidate_and_versions_newest_first() -> None:
    found = parse_policy(POLICY)
    assert found["nvidia-driver-cuda"] == Policy("550.163.01-1", ("580.178.04-1", "550.163.01-1"))
    assert found["linux-headers-amd64"] == Policy("", ())
    assert len(found) == 2


def test_a_pin_takes_the_newest_version_that_it_matches() -> None:
    driver = parse_policy(POLICY)["nvidia-driver-cuda"]
    assert driver.best("") == "550.163.01-1"
    assert driver.best("580.*") == "580.178.04-1"
    assert driver.best("550.163.01-*") == "550.163.01-1"
    assert driver.best("57?.*") == ""


def test_dnf_lists_names_and_versions() -> None:
    found = parse_candidates("dnf", "docker-ce 3:28.0-1\ndocker-ce 3:29.1-1\n\n")
    assert found == {"docker-ce": Policy("3:29.1-1", ("3:29.1-1", "3:28.0-1"))}


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    parse_candidates("apt-cache", text)
    parse_candidates("dnf", text)
