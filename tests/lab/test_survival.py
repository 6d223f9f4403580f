"""What a host goes through with `--suite full`, and that what does not survive it is found."""

from __future__ import annotations

import pytest
from support.lab import Lab

FULL = ("--suite", "full")
EVENTS = ("survival.daemon_reload", "survival.docker_restart", "survival.reboot")
WORK = ["docker", "run", "-d", "--name", "work", "nvidia/cuda:13.0.3-base-ubuntu24.04"]


@pytest.mark.slow
def test_a_host_whose_docker_is_not_enabled_does_not_survive_its_reboot(
    lab: Lab, provisioned: str
) -> None:
    lab.exec(provisioned, ["systemctl", "disable", "docker.service", "docker.socket"])
    booted = lab.exec(provisioned, ["cat", "/proc/sys/kernel/random/boot_id"])
    try:
        verified = lab.verify(provisioned, *FULL, "--restart-docker", "--reboot")
    finally:
        lab.exec(provisioned, ["systemctl", "enable", "--now", "docker.service"])
    assert [verified.verdict(event) for event in EVENTS] == ["PASS", "PASS", "FAIL"]
    assert "docker.running: FAIL" in verified.results["survival.reboot"]["seen"]
    assert set(verified.bad) == {"survival.reboot"}
    assert lab.exec(provisioned, ["cat", "/proc/sys/kernel/random/boot_id"]) != booted
    assert lab.verify(provisioned).bad == {}


@pytest.mark.slow
def test_a_host_in_use_is_left_alone(lab: Lab, provisioned: str) -> None:
    booted = lab.exec(provisioned, ["cat", "/proc/sys/kernel/random/boot_id"])
    lab.exec(provisioned, [*WORK, "sleep", "600"])
    try:
        verified = lab.verify(provisioned, *FULL, "--restart-docker", "--reboot")
        running = lab.exec(provisioned, ["docker", "ps", "-q", "--filter", "name=work"])
    finally:
        lab.exec(provisioned, ["docker", "rm", "-f", "work"])
    assert [verified.verdict(event) for event in EVENTS] == ["SKIP", "SKIP", "SKIP"]
    assert "container work" in verified.results["survival.reboot"]["summary"]
    assert running
    assert lab.exec(provisioned, ["cat", "/proc/sys/kernel/random/boot_id"]) == booted
