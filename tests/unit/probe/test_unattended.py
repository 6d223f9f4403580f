"""Which packages a host upgrades by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.probe import FakePrograms, context, tree

from gpuhost.probe import unattended
from gpuhost.probe.context import Context
from gpuhost.probe.unattended import (
    allowed_origins,
    apt_exposed,
    blacklist,
    dnf_automatic,
    dnf_exposed,
    matches,
    releases_of,
    versions_of,
)

CUDA = "https://mirror.test/cuda/debian12/x86_64  Packages"
DOCKER = "https://mirror.test/docker/linux/debian bookworm/stable amd64 Packages"
POLICY = f"""\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 {CUDA}
     release o=NVIDIA,l=NVIDIA CUDA,c=
     origin mirror.test
 500 {DOCKER}
     release v=12,o=Docker,a=bookworm,n=bookworm,l=Docker CE, as it is,c=stable,b=amd64
     origin mirror.test
Pinned packages:
     libnvidia-ml1 -> 550.163.01-1 with priority 1001
"""
VERSIONS = f"""\
docker-ce:
  Installed: 5:29.7.2-1
  Candidate: 5:29.8.0-1
  Version table:
     5:29.8.0-1 500 (phased 10%)
        500 {DOCKER}
 *** 5:29.7.2-1 500
        500 {DOCKER}
        100 /var/lib/dpkg/status
     5:29.6.0-1 500
        500 https://elsewhere.test/debian bookworm/main amd64 Packages
libnvidia-ml1:
  Installed: 550.163.01-1
  Candidate: 550.163.01-1
  Version table:
     580.178.04-1 500
        500 {CUDA}
 *** 550.163.01-1 1001
        500 {CUDA}
        100 /var/lib/dpkg/status
cuda-drivers:
  Installed: 550.163.01-1
  Candidate: 550.163.01-1
  Version table:
 *** 550.163.01-1 500
        500 {CUDA}
        100 /var/lib/dpkg/status
"""
DPKG = """\
cuda-drivers\t550.163.01-1\tinstall\tinstalled
docker-ce\t5:29.7.2-1\t{want}\tinstalled
libnvidia-ml1\t550.163.01-1\tinstall\tinstalled
"""
OS_RELEASE = "ID=debian\nVERSION_CODENAME=bookworm\n"
DEFAULT = """\
Unattended-Upgrade::Origins-Pattern "";
Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename},label=Debian";
Unattended-Upgrade::Allowed-Origins:: "${distro_id}:${distro_codename}-security";
"""


def of_docker(line: str = 'Unattended-Upgrade::Origins-Pattern:: "origin=Docker";') -> str:
    return f"{DEFAULT}{line}\n"


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("gpuhost.probe.packages.which", lambda name: name == "dpkg-query" or None)
    return debian_with(tmp_path)


def debian_with(base: Path, want: str = "install") -> Context:
    programs = FakePrograms(
        {
            "dpkg-query": (DPKG.format(want=want), 0),
            "apt-cache policy c": (VERSIONS, 0),
            "apt-cache policy": (POLICY, 0),
        }
    )
    return context(tree(base, {"/etc/os-release": OS_RELEASE}), programs)


def test_the_distributions_own_origins_leave_docker_and_the_driver_alone(debian: Context) -> None:
    assert apt_exposed(debian, DEFAULT, ["docker-ce"]) == []


@pytest.mark.parametrize(
    "line",
    [
        'Unattended-Upgrade::Origins-Pattern:: "origin=Docker";',
        'Unattended-Upgrade::Origins-Pattern:: "o=Docker,a=book*";',
        'Unattended-Upgrade::Origins-Pattern:: "origin=Docker,codename=${distro_codename}";',
        'Unattended-Upgrade::Origins-Pattern:: "label=Docker CE\\, as it is";',
        'Unattended-Upgrade::Allowed-Origins:: "Docker:bookworm";',
        'Unattended-Upgrade::Allowed-Origins:: "Docker ${distro_codename}";',
    ],
)
def test_a_package_from_an_origin_that_is_taken_is_exposed(debian: Context, line: str) -> None:
    assert apt_exposed(debian, of_docker(line), []) == ["docker-ce"]


@pytest.mark.parametrize(
    "line",
    [
        'Unattended-Upgrade::Origins-Pattern:: "origin=Docker,codename=trixie";',
        'Unattended-Upgrade::Origins-Pattern:: "origin=Docker,colour=blue";',
        'Unattended-Upgrade::Origins-Pattern:: "Docker";',
        'Unattended-Upgrade::Allowed-Origins:: "Docker:bookworm:stable";',
    ],
)
def test_a_pattern_that_does_not_fit_takes_nothing(debian: Context, line: str) -> None:
    assert apt_exposed(debian, of_docker(line), []) == []


def test_a_hold_and_an_exclusion_protect(tmp_path: Path, debian: Context) -> None:
    held = debian_with(tmp_path, want="hold")
    assert apt_exposed(held, of_docker(), []) == []
    spared = of_docker() + 'Unattended-Upgrade::Package-Blacklist:: "docker-";\n'
    assert apt_exposed(debian, spared, ["docker-ce"]) == []


def test_a_pin_protects_unless_an_upgrade_waits_all_the_same(debian: Context) -> None:
    everything = of_docker('Unattended-Upgrade::Origins-Pattern:: "site=mirror.test";')
    assert apt_exposed(debian, everything, []) == ["cuda-drivers", "docker-ce"]
    found = apt_exposed(debian, everything, ["libnvidia-ml1"])
    assert found == ["cuda-drivers", "docker-ce", "libnvidia-ml1"]


def test_a_list_is_known_by_all_that_its_release_file_says() -> None:
    release = releases_of(POLICY)[DOCKER]
    assert release == {
        "v": "12",
        "o": "Docker",
        "a": "bookworm",
        "n": "bookworm",
        "l": "Docker CE, as it is",
        "c": "stable",
        "b": "amd64",
        "site": "mirror.test",
    }
    assert matches({"c": "stable", "site": "*.test"}, release)
    assert not matches({"o": "Docker"}, releases_of(POLICY)[CUDA])


def test_versions_older_than_the_installed_one_are_left_out() -> None:
    found = versions_of(VERSIONS)
    assert [len(found[name]) for name in ("docker-ce", "libnvidia-ml1", "cuda-drivers")] == [
        2,
        2,
        1,
    ]
    assert [version.priority for version in found["libnvidia-ml1"]] == [500, 1001]
    assert all("elsewhere" not in line for each in found["docker-ce"] for line in each.lists)


def test_names_that_nobody_knows_stay_and_match_nothing() -> None:
    (pattern,) = allowed_origins('Unattended-Upgrade::Origins-Pattern:: "o=${vendor}";\n', {})
    assert not matches(pattern, {"o": "Docker"})


def test_what_unattended_upgrades_spare_is_read_as_patterns() -> None:
    lines = ("nvidia-", "libnvidia-", "broken(")
    text = "".join(f'Unattended-Upgrade::Package-Blacklist:: "{line}";\n' for line in lines)
    assert blacklist(text) == ["nvidia-", "libnvidia-"]


# ------------------------------------------------------------------------- dnf

RPM = "docker-ce\t3\t29.7.2-1.el9\nnvidia-driver-cuda\t3\t580.1-1.el9\nbash\t0\t5.1-6.el9\n"
APPLIES = "[commands]\nupgrade_type = {kind}\napply_updates = {applies}\n[base]\n{base}\n"


def rocky(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    active: str = "dnf-automatic.timer",
    **conf: str,
) -> Context:
    monkeypatch.setattr("gpuhost.probe.packages.which", lambda name: name == "rpm" or None)
    text = APPLIES.format(**{"kind": "default", "applies": "yes", "base": "", **conf})
    timers = (*unattended.DNF_TIMERS, unattended.DNF_INSTALLS)
    states = "\n\n".join(
        f"LoadState=loaded\nActiveState={'active' if name == active else 'inactive'}\n"
        "UnitFileState=enabled"
        for name in timers
    )
    files = {
        "/etc/dnf/automatic.conf": text,
        "/etc/dnf/plugins/versionlock.list": "nvidia-driver-cuda-3:580.1-1.el9.*\n",
    }
    programs = FakePrograms({"rpm": (RPM, 0), "systemctl": (states, 0)})
    return context(tree(folder, files), programs)


@pytest.mark.parametrize(
    ("active", "applies", "installs"),
    [
        ("dnf-automatic.timer", "yes", True),
        ("dnf-automatic.timer", "no", False),
        ("dnf5-automatic.timer", "True", True),
        ("dnf-automatic-install.timer", "no", True),
        ("none", "yes", False),
    ],
)
def test_dnf_automatic_installs_where_its_timer_or_its_file_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: str, applies: str, installs: bool
) -> None:
    host = rocky(tmp_path, monkeypatch, active, applies=applies)
    assert dnf_automatic(host).installs is installs


def test_what_is_not_locked_is_exposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = rocky(tmp_path, monkeypatch)
    assert dnf_exposed(host, dnf_automatic(host), []) == ["docker-ce"]


def test_what_dnf_automatic_excludes_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = rocky(tmp_path, monkeypatch, base="exclude = kernel*, docker-ce*")
    assert dnf_exposed(host, dnf_automatic(host), ["docker-ce"]) == []


def test_security_updates_only_expose_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = rocky(tmp_path, monkeypatch, kind="security")
    assert dnf_exposed(host, dnf_automatic(host), []) == []
    assert dnf_exposed(host, dnf_automatic(host), ["docker-ce"]) == ["docker-ce"]


def test_a_file_that_is_none_installs_nothing(tmp_path: Path) -> None:
    host = context(tree(tmp_path, {"/etc/dnf/automatic.conf": "apply_updates = yes"}))
    assert not dnf_automatic(host).installs
