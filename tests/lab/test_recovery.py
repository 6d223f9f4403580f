"""A controller that dies, and two controllers at one host."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import controller
from support.lab import Lab

RUN = "/var/lib/gpuhost/ledger/run.json"
# One host, killed at each of these in turn: every run goes on from the one that was killed before.
# The task after each is still ahead, whatever the killed controller left running on the host.
BOUNDARIES = [
    "software: Configure the repositories, and install and hold the packages  changed",
    "nvidia_driver: Rebuild an initramfs that an earlier run may have left with nouveau  changed",
    "nvidia_driver: Reboot, because nouveau is loaded and has the GPUs  changed",
    "docker_ce: Merge the declared keys into daemon.json  changed",
    "docker_ce: Enable and run dockerd  changed",
]


@pytest.fixture(scope="module")
def bare(lab: Lab) -> str:
    """A bare host, on which nouveau has the GPUs."""
    return lab.up("lab-61", "--gpus", "1", "--os", "debian12")


def record(lab: Lab, host: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.exec(host, ["cat", RUN]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_controller_can_be_killed_at_every_stage(lab: Lab, bare: str, boundary: str) -> None:
    with controller.at_work(lab, "provision", bare, "--yes") as (process, log):
        controller.wait_for(boundary, process, log)
    assert record(lab, bare)["run"]


@pytest.mark.slow
def test_the_same_command_then_ends_conforming_and_says_what_it_found(lab: Lab, bare: str) -> None:
    ran = lab.ok("provision", bare, "--yes")
    assert f"{bare}: found unfinished: `gpuhost provision {bare}`" in ran.stderr
    assert "This run went on from there" in ran.stderr
    assert f"{bare}: no changes" in lab.ok("provision", bare, "--full", "--yes").stderr
    assert not lab.exec(bare, ["sh", "-c", f"test ! -e {RUN} || echo there"]).strip()


def at_work_on(lab: Lab, host: str) -> str:
    """The run that has a host's lock; empty if none has."""
    read = ["sh", "-c", f"test ! -e {RUN} || cat {RUN}"]
    found = lab.exec(host, read)
    return str(json.loads(found)["run"]) if found else ""


def running(program: str, run: str) -> list[int]:
    """Processes of one run, in the host that it works on, that are this program."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*") if run else ():
        with suppress(OSError):
            is_ours = f"GPUHOST_RUN={run}\0".encode() in (process / "environ").read_bytes()
            if is_ours and (process / "comm").read_text().strip() == program:
                found.append(int(process.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "also", [(), ("dpkg", "apt-get")], ids=["controller", "controller-and-apt"]
)
def test_a_kill_while_packages_are_unpacked_is_mended_by_the_same_command(
    lab: Lab, also: tuple[str, ...]
) -> None:
    host = lab.up("lab-62", "--gpus", "1", "--os", "debian12")
    with controller.at_work(lab, "provision", host, "--yes") as (process, log):
        deadline = time.monotonic() + 240
        run = ""
        while not running("dpkg", run):
            run = run or at_work_on(lab, host)
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        for program in also:
            for pid in running(program, run):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert record(lab, host)["run"]
    ran = lab.ok("provision", host, "--yes")
    assert f"{host}: found unfinished: `gpuhost provision {host}`" in ran.stderr
    assert f"{host}: no changes" in lab.ok("provision", host, "--full", "--yes").stderr
    lab.ok("lab", "down", host)


def test_the_second_of_two_controllers_is_told_who_is_at_work(lab: Lab, provisioned: str) -> None:
    with holding(lab, provisioned):
        ran = lab.run("provision", provisioned, "--full", "--yes")
    assert ran.code == 4
    words = ran.stdout + ran.stderr
    assert "another run is at work on it: `gpuhost provision gpu-77` (ops@elsewhere, pid 4711" in (
        words
    )
    assert "Nothing was changed" in words


def test_planning_needs_no_lock(lab: Lab, provisioned: str) -> None:
    with holding(lab, provisioned):
        assert lab.ok("plan", provisioned).code == 0


def test_a_lock_that_nothing_was_heard_of_for_long_is_taken_over(
    lab: Lab, provisioned: str
) -> None:
    with holding(lab, provisioned, heard_s_ago=16 * 60):
        ran = lab.run("provision", provisioned, "--full", "--yes")
    assert f"{provisioned}: found unfinished: `gpuhost provision gpu-77` (ops@else" in ran.stderr
    assert f"{provisioned}: no changes" in ran.stderr


def test_a_dead_runs_lock_does_not_stay_on_a_host_that_conforms(lab: Lab, provisioned: str) -> None:
    with holding(lab, provisioned, heard_s_ago=16 * 60):
        ran = lab.ok("provision", provisioned, "--yes")
        assert f"{provisioned}: found unfinished: `gpuhost provision gpu-77`" in ran.stderr
        assert not lab.exec(provisioned, ["sh", "-c", f"test ! -e {RUN} || echo there"]).strip()
    assert "nothing to change" in ran.stderr


def packages(lab: Lab, host: str) -> dict[str, str]:
    shown = lab.exec(host, ["dpkg-query", "-W", "-f", "${binary:Package} ${Version}\n"])
    return dict(line.split() for line in shown.splitlines())


@contextmanager
def holding(lab: Lab, host: str, heard_s_ago: float = 0) -> Iterator[None]:
    """A lock of a controller on another machine."""
    held = {
        "run": "another",
        "holder": {
            "user": "ops",
            "machine": "elsewhere",
            "place": "elsewhere",
            "pid": 4711,
            "started": "1",
            "command": "gpuhost provision gpu-77",
        },
        "kind": "provision",
        "since": time.time() - heard_s_ago,
        "before": packages(lab, host),
    }
    lab.exec(host, ["tee", RUN], stdin=json.dumps(held))
    lab.exec(host, ["touch", "-d", f"{int(heard_s_ago)} seconds ago", RUN])
    try:
        yield
    finally:
        lab.exec(host, ["rm", "-f", RUN])
