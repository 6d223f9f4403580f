"""The nightly timer on a real systemd: gpuhost is installed in a host, which verifies itself."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import installation
from support.ground import silent
from support.lab import Lab

from gpuhost import lab as room
from gpuhost.lab.inside import recorded

pytestmark = pytest.mark.slow

# The release whose Python is that of this machine: what is installed here runs there.
RELEASES = {"3.11": "debian12", "3.13": "debian13"}
SERVICE, TIMER = "gpuhost-nightly.service", "gpuhost-nightly.timer"
SITE = Path("/srv/our site, 100%")
STATE = "/root/.local/state/gpuhost"
# So that a run begins at the second that it is set for.
PUNCTUAL = "[Timer]\nRandomizedDelaySec=0\nAccuracySec=100ms\n"
PATIENCE_S = 240


@dataclass(frozen=True)
class Controller:
    """A lab host with gpuhost in it and an inventory of itself."""

    host: str
    python: str

    def gpuhost(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = f"cd {shlex.quote(str(SITE))} && exec {self.python} -m gpuhost {shlex.join(words)}"
        return room.attempt(self.host, ["sh", "-c", line], timeout_s=PATIENCE_S)

    def ok(self, *words: str) -> str:
        done = self.gpuhost(*words)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def systemctl(self, *words: str) -> str:
        return room.attempt(self.host, ["systemctl", *words], timeout_s=PATIENCE_S).stdout.strip()

    def property_of(self, unit: str, name: str) -> str:
        return self.systemctl("show", unit, f"--property={name}", "--value")

    def journal(self) -> str:
        argv = ["journalctl", "--no-pager", "--unit", SERVICE]
        return room.attempt(self.host, argv, timeout_s=60).stdout

    def await_state(self, *states: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.property_of(SERVICE, "ActiveState") not in states:
            assert time.monotonic() < deadline, self.journal()
            time.sleep(0.5)


@pytest.fixture(scope="module")
def controller(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    release = RELEASES.get(installation.PYTHON)
    if release is None:
        pytest.skip(
            f"no release of the lab has Python {installation.PYTHON}, which gpuhost has here"
        )
    host = lab.up("night", "--os", release, "--gpus", "2")
    lab.ok("provision", host, "--yes")
    python = installation.install(host, tmp_path_factory.mktemp("wheel"))
    root = recorded(host).part("root")
    inventory = root / SITE.relative_to("/") / "inventories" / "site"
    (inventory / "host_vars").mkdir(parents=True)
    shutil.copy(lab.project / "inventories" / "lab" / "hosts.yml", inventory)
    (inventory / "host_vars" / f"{host}.yml").write_text("ansible_connection: local\n")
    drop_in = root / "etc/systemd/system" / f"{TIMER}.d" / "punctual.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(PUNCTUAL)
    yield Controller(host, python)
    room.down([host], silent)


def test_the_timer_starts_a_run_that_comes_to_its_end(controller: Controller) -> None:
    soon = room.execute(controller.host, ["date", "-d", "+3 seconds", "+%Y-%m-%d %H:%M:%S"]).strip()
    assert f"{TIMER} is enabled" in controller.ok("nightly", "install", "--at", soon)
    controller.await_state("active")
    controller.await_state("inactive", "failed")
    said = controller.ok("nightly", "status")
    assert TIMER in said
    assert "Result=success" in said, controller.journal()
    assert "ExecMainStatus=0" in said
    assert f"✓ PASS  {controller.host}" in controller.journal()
    assert "✓ usable" in controller.ok("status", controller.host)
    kept = room.execute(controller.host, ["ls", f"{STATE}/runs/latest/"]).split()
    assert {"report.html", "report.json", "junit.xml", "evidence"} <= set(kept)


def test_another_time_takes_the_place_of_the_first(controller: Controller) -> None:
    controller.ok("nightly", "install", "--at", "04:05")
    assert " 04:05:00 " in controller.property_of(TIMER, "NextElapseUSecRealtime")
    assert controller.property_of(TIMER, "UnitFileState") == "enabled"


def test_a_host_that_fails_is_found_and_the_service_has_not_failed(
    lab: Lab, controller: Controller
) -> None:
    lab.ok("lab", "fault", controller.host, "toolkit-swap")
    controller.systemctl("start", "--wait", SERVICE)
    lab.ok("lab", "fault", controller.host, "--clear")
    assert controller.property_of(SERVICE, "Result") == "success"
    assert controller.property_of(SERVICE, "ExecMainStatus") == "1"
    assert controller.gpuhost("status", controller.host).returncode == 1
    listed = room.execute(controller.host, ["cat", f"{STATE}/quarantine.txt"])
    assert listed == f"{controller.host}\n"
    page = room.execute(controller.host, ["cat", f"{STATE}/runs/latest/report.html"])
    assert '<path class="leaked"' in page
    assert "<polyline" in page


def test_a_run_that_is_stopped_ends_without_failure_and_hinders_no_other(
    controller: Controller,
) -> None:
    controller.systemctl("start", SERVICE)
    deadline = time.monotonic() + PATIENCE_S
    while "verify: " not in controller.journal().rpartition("Started ")[2]:
        assert time.monotonic() < deadline, controller.journal()
        time.sleep(0.2)
    controller.systemctl("stop", SERVICE)
    assert controller.property_of(SERVICE, "Result") == "success"
    assert controller.property_of(SERVICE, "ExecMainStatus") == "143"
    controller.systemctl("start", "--wait", SERVICE)
    assert controller.property_of(SERVICE, "ExecMainStatus") == "0", controller.journal()


def test_removing_it_leaves_neither_timer_nor_service_and_keeps_what_was_found(
    controller: Controller,
) -> None:
    assert "removed" in controller.ok("nightly", "remove")
    assert controller.property_of(SERVICE, "LoadState") == "not-found"
    assert TIMER not in controller.systemctl("list-timers", "--all")
    assert "No timer is installed" in controller.ok("nightly", "status")
    assert "no timer to remove" in controller.ok("nightly", "remove")
    assert "✓ usable" in controller.ok("status", controller.host)
