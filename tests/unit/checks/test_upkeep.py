"""upkeep.* and host.disk: what happens while nobody looks."""

from __future__ import annotations

from typing import Any

import pytest

from gpuhost.model import Verdict

GIB = 1 << 30
KERNEL = "6.1.0-41-amd64"


def disk(path: str, free: int, total: int = 200 * GIB, free_inodes: int = 10_000) -> dict[str, Any]:
    return {
        "path": path,
        "total_bytes": total,
        "free_bytes": free,
        "total_inodes": 20_000,
        "free_inodes": free_inodes,
    }


def upgrade(name: str) -> dict[str, str]:
    return {"name": name, "installed": "550.163.01-1", "candidate": "580.178.04-1"}


# ----------------------------------------------------------------------- clock


@pytest.mark.parametrize(
    ("units", "cause", "remedy"),
    [
        ([], "nothing on the host", "install chrony"),
        ([("chrony.service", "inactive")], "does not run", "enable --now chrony.service"),
        ([("chrony.service", "active")], "no time server", "chronyc sources"),
    ],
)
def test_a_loose_clock_is_a_warning_with_its_reason(
    host: Any, units: list[tuple[str, str]], cause: str, remedy: str
) -> None:
    host.section("upkeep")["clock"].update(
        synchronised=False,
        units=[
            {"name": name, "load_state": "loaded", "active_state": state, "enabled_state": ""}
            for name, state in units
        ],
    )
    result = host.check("upkeep.clock")
    assert result.verdict is Verdict.WARN
    assert cause in result.cause
    assert remedy in result.remedy


def test_a_clock_that_nobody_tells_of_is_never_passed(host: Any) -> None:
    host.section("upkeep")["clock"].update(synchronised=None, error="timedatectl: not found")
    result = host.check("upkeep.clock")
    assert result.verdict is Verdict.UNKNOWN
    assert "not found" in result.seen


# -------------------------------------------------------------------- upgrades


@pytest.mark.parametrize(
    ("package", "kind", "cause"),
    [
        ("nvidia-driver-cuda", "the driver", "until the host is rebooted"),
        ("libnvidia-ml1", "the driver", "until the host is rebooted"),
        ("docker-ce", "docker", "docker is restarted"),
        ("containerd.io", "docker", "docker is restarted"),
        ("nvidia-container-toolkit", "the toolkit", "docker is restarted"),
    ],
)
def test_an_upgrade_that_comes_by_itself_is_said_the_night_before(
    host: Any, package: str, kind: str, cause: str
) -> None:
    host.section("upkeep")["upgrades"].update(
        pending=[upgrade(package)], automatic=True, exposed=[package]
    )
    result = host.check("upkeep.upgrades")
    assert result.verdict is Verdict.WARN
    assert result.summary == f"the next unattended upgrade replaces {kind}"
    assert cause in result.cause
    assert result.seen == f"{package} 550.163.01-1 → 580.178.04-1"
    assert f"apt-mark hold {package}" in result.remedy


def test_a_package_that_may_come_by_itself_some_night_is_said_before_one_waits(host: Any) -> None:
    host.section("upkeep")["upgrades"].update(automatic=True, exposed=["docker-ce"])
    result = host.check("upkeep.upgrades")
    assert result.verdict is Verdict.WARN
    assert result.summary == "an unattended upgrade may replace docker"
    assert "none waits now" in result.seen
    assert "neither held nor excluded" in result.cause
    assert "apt-mark hold docker-ce" in result.remedy


@pytest.mark.parametrize("waits", [True, False])
def test_an_origin_that_unattended_upgrades_do_not_take_is_no_alarm(host: Any, waits: bool) -> None:
    pending = [upgrade("docker-ce")] if waits else []
    host.section("upkeep")["upgrades"].update(automatic=True, pending=pending)
    result = host.check("upkeep.upgrades")
    assert result.verdict is Verdict.PASS
    assert "unattended upgrades leave them alone" in result.summary


def test_evidence_that_does_not_tell_origins_is_judged_by_what_waits(host: Any) -> None:
    upgrades = host.section("upkeep")["upgrades"]
    upgrades.update(automatic=True, pending=[upgrade("docker-ce")])
    del upgrades["exposed"]
    assert host.check("upkeep.upgrades").verdict is Verdict.WARN


def test_an_upgrade_that_somebody_has_to_start_is_told_and_no_alarm(host: Any) -> None:
    host.section("upkeep")["upgrades"].update(pending=[upgrade("docker-ce")])
    result = host.check("upkeep.upgrades")
    assert result.verdict is Verdict.PASS
    assert "1 upgrade available" in result.summary


def test_a_package_manager_that_does_not_answer_is_never_passed(host: Any) -> None:
    host.section("upkeep")["upgrades"].update(
        pending=None, error="E: Sub-process returned an error"
    )
    assert host.check("upkeep.upgrades").verdict is Verdict.UNKNOWN


# ------------------------------------------------------------------- next boot


def test_a_kernel_without_the_module_breaks_at_the_next_reboot(host: Any) -> None:
    host.section("upkeep")["next_boot"].update(kernel=KERNEL, module_version=None)
    result = host.check("upkeep.next_boot")
    assert result.verdict is Verdict.FAIL
    assert result.summary == f"breaks at the next reboot: no nvidia module for kernel {KERNEL}"
    assert "running now: 6.1.0-40-amd64" in result.seen
    assert f"linux-headers-{KERNEL}" in result.remedy
    assert "dkms" in result.remedy


def test_a_kernel_with_another_driver_breaks_at_the_next_reboot(host: Any) -> None:
    host.section("upkeep")["next_boot"].update(kernel=KERNEL, module_version="550.163.01")
    result = host.check("upkeep.next_boot")
    assert result.verdict is Verdict.FAIL
    assert "550.163.01" in result.summary


def test_a_newer_kernel_with_the_same_driver_is_fine(host: Any) -> None:
    host.section("upkeep")["next_boot"]["kernel"] = KERNEL
    assert host.check("upkeep.next_boot").verdict is Verdict.PASS


def test_a_host_without_a_driver_has_nothing_to_break(host: Any) -> None:
    host.section("driver").update(userspace_version=None, on_disk_version=None)
    host.section("upkeep")["next_boot"]["module_version"] = None
    assert host.check("upkeep.next_boot").verdict is Verdict.SKIP


def test_an_unknown_kernel_is_never_passed(host: Any) -> None:
    host.section("upkeep")["next_boot"].update(kernel=None, module_version=None)
    assert host.check("upkeep.next_boot").verdict is Verdict.UNKNOWN


# ------------------------------------------------------------------------ disk


@pytest.mark.parametrize(
    ("disks", "verdict", "words"),
    [
        ([disk("/", 120 * GIB)], Verdict.PASS, "120.0 GiB or more free"),
        ([disk("/", 3 * GIB)], Verdict.WARN, "/ is nearly full"),
        ([disk("/", 120 * GIB), disk("/var/lib/docker", 1000)], Verdict.FAIL, "/var/lib/docker is"),
        ([disk("/", 120 * GIB, free_inodes=3)], Verdict.FAIL, "/ is full"),
        ([disk("/", 120 * GIB), disk("/boot", 300 << 20, GIB)], Verdict.PASS, "300 MiB"),
        ([disk("/", 120 * GIB), disk("/boot", 100 << 20, GIB)], Verdict.WARN, "/boot is nearly"),
        ([disk("/", 120 * GIB), disk("/boot", 10 << 20, GIB)], Verdict.FAIL, "/boot is full"),
        ([], Verdict.UNKNOWN, "unknown"),
    ],
)
def test_space_is_judged_by_what_needs_it(
    host: Any, disks: list[dict[str, Any]], verdict: Verdict, words: str
) -> None:
    host.section("system")["disks"] = disks
    result = host.check("host.disk")
    assert result.verdict is verdict
    assert words in result.summary


def test_a_file_system_is_named_once(host: Any) -> None:
    host.section("system")["disks"] = [disk("/", GIB // 2), disk("/boot", GIB // 2)]
    assert host.check("host.disk").summary == "/ is full"


def test_a_full_boot_is_mended_by_removing_kernels(host: Any) -> None:
    host.section("system")["disks"] = [disk("/boot", 0, GIB)]
    assert "autoremove" in host.check("host.disk").remedy


def test_evidence_without_inodes_is_still_judged(host: Any) -> None:
    host.section("system")["disks"] = [{"path": "/", "total_bytes": GIB, "free_bytes": 0}]
    assert host.check("host.disk").verdict is Verdict.FAIL
