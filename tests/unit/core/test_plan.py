from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.model import Desired
from gpuhost.plan import HostPlan, plan
from gpuhost.probe.schema import Evidence

Spoil = Callable[[dict[str, Any]], None]


def planned(section: str, spoil: Spoil, desired: Desired | None = None) -> HostPlan:
    evidence = healthy_evidence()
    data = evidence["sections"][section]["data"]
    assert data is not None
    spoil(data)
    return plan("gpu-01", evidence, desired or healthy_desired())


def words(host_plan: HostPlan) -> list[str]:
    return [f"{change.component}: {change.what}" for change in host_plan.changes]


def test_a_conforming_host_has_an_empty_plan() -> None:
    assert plan("gpu-01", healthy_evidence(), healthy_desired()).is_empty


def test_a_bare_host_is_planned_from_the_driver_to_the_users() -> None:
    evidence: Evidence = healthy_evidence()
    sections = evidence["sections"]
    sections["driver"]["data"] |= {  # type: ignore[operator]
        "loaded_version": None,
        "on_disk_version": None,
        "userspace_version": None,
        "nouveau_loaded": True,
        "nouveau_blacklisted": False,
        "packages": [],
        "units": [],
    }
    for name in ("docker", "toolkit"):
        sections[name]["data"] |= {"packages": [], "cdi_specs": []}  # type: ignore[operator]
    sections["users"]["data"]["docker_group"] = None  # type: ignore[index]
    result = plan("gpu-01", evidence, replace(healthy_desired(), driver_version=None))
    components = [change.component for change in result.changes]
    assert list(dict.fromkeys(components)) == ["driver", "docker", "toolkit", "users"]
    assert "driver: install the NVIDIA driver, branch 580" in words(result)
    assert result.reboot.startswith("nouveau is loaded")


def test_another_driver_branch_is_a_change_with_both_versions() -> None:
    desired = replace(healthy_desired(), driver_branch="595", driver_version=None)
    result = plan("gpu-01", healthy_evidence(), desired)
    assert "driver: change the NVIDIA driver from 580.178.04 to branch 595" in words(result)
    assert result.reboot


def test_a_branch_is_not_taken_for_a_longer_one() -> None:
    desired = replace(healthy_desired(), driver_branch="58", driver_version=None)
    assert not plan("gpu-01", healthy_evidence(), desired).is_empty


def test_packages_that_are_not_held_are_planned_to_be() -> None:
    def release(driver: dict[str, Any]) -> None:
        for package in driver["packages"]:
            package["held"] = False

    assert words(planned("driver", release)) == ["driver: hold the driver packages at 580.178.04"]


def test_a_loaded_driver_that_is_not_the_one_on_disk_means_a_reboot() -> None:
    result = planned("driver", lambda driver: driver.update(loaded_version="580.65.06"))
    assert result.reboot == "the loaded driver is 580.65.06, on disk is 580.178.04"


def test_one_toolkit_package_of_another_version_is_named() -> None:
    def age(toolkit: dict[str, Any]) -> None:
        toolkit["packages"][0]["version"] = "1.17.8-1"

    (change,) = planned("toolkit", age).changes
    assert "from 1.17.8-1 to 1.20.0-1" in change.what


def test_a_declared_key_missing_in_daemon_json_is_planned() -> None:
    desired = replace(healthy_desired(), daemon_config={"live-restore": True})
    (change,) = plan("gpu-01", healthy_evidence(), desired).changes
    assert change.what == "set live-restore in /etc/docker/daemon.json"


def test_a_foreign_key_beside_a_declared_one_is_no_change() -> None:
    desired = replace(healthy_desired(), daemon_config={"features": {"cdi": True}})

    def add_foreign(docker: dict[str, Any]) -> None:
        text = docker["daemon_json"]["text"]
        docker["daemon_json"]["text"] = text.replace('"cdi"', '"buildkit": true, "cdi"')

    assert planned("docker", add_foreign, desired).is_empty


def test_a_user_outside_the_docker_group_is_planned_with_the_warning() -> None:
    desired = replace(healthy_desired(), docker_users=("alice", "bob"))
    (change,) = plan("gpu-01", healthy_evidence(), desired).changes
    assert change.what == "add bob to the docker group (which is equivalent to root)"


@pytest.mark.parametrize("section", ["driver", "docker", "toolkit", "users"])
def test_what_could_not_be_read_keeps_the_plan_from_being_empty(section: str) -> None:
    evidence = healthy_evidence()
    evidence["sections"][section] = {"error": "timed out", "duration_s": 60.0, "data": None}
    result = plan("gpu-01", evidence, healthy_desired())
    assert not result.is_empty
    assert f"{section}: timed out" in result.unreadable


SWITCH = {
    "address": "0000:c0:00.0",
    "vendor": "0x10de",
    "device": "0x22a3",
    "class_code": "0x068000",
    "driver": "nvidia-nvswitch",
}


def on_a_switch_board(fabric_manager: str | None, state: str) -> HostPlan:
    evidence = healthy_evidence()
    evidence["sections"]["pci"]["data"]["devices"].append(SWITCH)  # type: ignore[index]
    driver: Any = evidence["sections"]["driver"]["data"]
    if fabric_manager:
        name = "nvidia-fabricmanager"
        driver["packages"].append({"name": name, "version": fabric_manager, "held": True})
    unit = {"name": "nvidia-fabricmanager.service", "load_state": "", "enabled_state": ""}
    driver["units"].append({**unit, "active_state": state})
    return plan("gpu-01", evidence, healthy_desired())


def test_a_switch_board_needs_the_fabric_manager_at_the_drivers_version_and_running() -> None:
    assert on_a_switch_board("580.178.04-1", "active").is_empty
    start = "fabric: enable and start the fabric manager"
    assert words(on_a_switch_board("580.178.04-1", "failed")) == [start]
    assert words(on_a_switch_board(None, "inactive")) == [
        "fabric: install the fabric manager at the driver's version, 580.178.04",
        start,
    ]
    other = on_a_switch_board("580.95.05-1", "active")
    assert words(other) == [
        "fabric: change the fabric manager from 580.95.05-1 to the driver's version, 580.178.04"
    ]
    assert "nvidia_fabric_manager" in other.roles
