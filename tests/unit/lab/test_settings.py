from pathlib import Path

import pytest

from gpuhost.errors import UsageError
from gpuhost.lab.settings import load

LONGEST_LINK_NAME = 15


def test_the_default_lab_is_in_the_range_for_tests_of_network_gear() -> None:
    lab = load({})
    assert (lab.bridge, lab.address) == ("gpuhost0", "198.18.0.1")
    assert lab.cache == Path("/var/cache/gpuhost-lab")
    assert lab.state == Path("/var/lib/gpuhost-lab")


def test_labs_in_different_subnets_share_no_name_on_the_machine() -> None:
    one, other = load({}), load({"GPUHOST_LAB_SUBNET": "198.18.7.0/24"})
    assert one.bridge != other.bridge
    assert one.machine("198.18.0.11") != other.machine("198.18.7.11")


def test_a_hosts_link_name_fits_into_what_linux_allows() -> None:
    machine = load({"GPUHOST_LAB_SUBNET": "198.18.255.0/24"}).machine("198.18.255.254")
    assert len(f"vb-{machine}") <= LONGEST_LINK_NAME


@pytest.mark.parametrize("subnet", ["198.18.0.0/16", "198.18.0.5/24", "lab", "fd00::/24"])
def test_a_subnet_that_cannot_be_used_is_refused_with_an_example(subnet: str) -> None:
    with pytest.raises(UsageError) as caught:
        load({"GPUHOST_LAB_SUBNET": subnet})
    assert "GPUHOST_LAB_SUBNET" in caught.value.message
    assert "198.18.0.0/24" in caught.value.remedy


def test_relative_folders_become_absolute_since_they_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"GPUHOST_LAB_STATE": "state"}).state == tmp_path / "state"
