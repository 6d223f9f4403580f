"""Hosts whose GPUs are joined by NVSwitches: from bare to proven, and what can go wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
from support.ground import silent
from support.lab import Lab

from gpuhost import lab as room
from gpuhost.lab.faults import all_faults, find, injected

pytestmark = pytest.mark.slow
SWITCH_BOARD = "H100-HGX"


@pytest.fixture(scope="module")
def board(lab: Lab) -> Iterator[str]:
    """A provisioned host on a board with NVSwitches."""
    name = lab.up("lab-81", "--gpus", "2", "--model", SWITCH_BOARD)
    lab.ok("provision", name, "--yes")
    yield name
    room.down([name], silent)


def test_the_fabric_manager_is_the_drivers_own_held_and_running(lab: Lab, board: str) -> None:
    verified = lab.verify(board)
    assert verified.bad == {}
    assert verified.verdict("gpu.fabric") == "PASS"
    assert verified.verdict("driver.fabric_manager") == "PASS"
    assert "nvidia-fabricmanager-550" in lab.exec(board, ["apt-mark", "showhold"]).split()
    enabled = lab.exec(board, ["systemctl", "is-enabled", "nvidia-fabricmanager.service"])
    assert enabled == "enabled\n"


def test_a_plan_tells_what_became_otherwise_of_the_fabric_manager(lab: Lab, board: str) -> None:
    assert f"{board}: nothing to change" in lab.ok("plan", board).stdout
    lab.exec(board, ["apt-mark", "unhold", "nvidia-fabricmanager-550"])
    lab.exec(board, ["systemctl", "disable", "nvidia-fabricmanager.service"])
    told = lab.ok("plan", board).stdout
    assert "hold      the fabric manager" in told
    assert "enable    nvidia-fabricmanager.service" in told
    lab.ok("provision", board, "--yes")
    assert f"{board}: nothing to change" in lab.ok("plan", board).stdout


@pytest.mark.parametrize("name", [f.name for f in all_faults() if f.model == SWITCH_BOARD])
def test_a_fabric_manager_that_does_not_work_is_found(lab: Lab, board: str, name: str) -> None:
    fault = find(name)
    with injected(lab.exec, board, fault):
        verified = lab.verify(board)
    result = verified.results[fault.check]
    assert result["verdict"] == fault.verdict, verified.bad
    assert fault.cause in result["cause"]
    assert fault.remedy in result["remedy"]
    meant = (fault.check, *fault.consequences)
    assert [n for n in verified.bad if not any(fnmatch(n, each) for each in meant)] == []


def test_after_a_change_of_the_drivers_branch_the_fabric_manager_is_of_the_new_one(
    lab: Lab, board: str
) -> None:
    folder = lab.project / "inventories/lab/host_vars"
    folder.mkdir(exist_ok=True)
    (folder / f"{board}.yml").write_text("nvidia_driver_branch: '535'\n")
    lab.ok("provision", board, "--yes")
    verified = lab.verify(board)
    assert verified.bad == {}
    assert verified.results["driver.fabric_manager"]["summary"].startswith("535.")
