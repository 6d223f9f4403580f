"""Hosts that nobody has finished: what they lack is told in a line each, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ground import silent
from support.lab import Lab
from support.target import Target

from gpuhost import lab as room


@pytest.fixture
def bare(lab: Lab) -> Iterator[str]:
    """A host that nothing of gpuhost's has touched."""
    yield lab.up("partial", "--gpus", "2")
    room.down(["partial"], silent)


def expect(lab: Lab, host: str, *failing: str) -> None:
    verified = lab.verify(host)
    assert list(verified.bad) == list(failing), verified.bad
    assert all(verified.results[check]["remedy"] for check in failing)
    assert verified.code == 1


def test_a_bare_host_lacks_driver_docker_and_toolkit(lab: Lab, bare: str) -> None:
    expect(lab, bare, "driver.present", "docker.present", "toolkit.present")


def test_a_bare_machine_without_a_gpu_lacks_that_too(lab: Lab) -> None:
    lab.up("no-gpu", "--gpus", "0")
    try:
        everything = ("gpu.present", "driver.present", "docker.present", "toolkit.present")
        expect(lab, "no-gpu", *everything)
    finally:
        room.down(["no-gpu"], silent)


@pytest.mark.slow
def test_a_host_with_a_driver_alone_lacks_docker_and_toolkit(lab: Lab, bare: str) -> None:
    Target(lab, bare).good("--tags", "nvidia_driver")
    expect(lab, bare, "docker.present", "toolkit.present")


@pytest.mark.slow
def test_a_host_with_docker_alone_lacks_driver_toolkit_and_users(lab: Lab, bare: str) -> None:
    Target(lab, bare).good("--tags", "docker_ce")
    expect(lab, bare, "driver.present", "toolkit.present", "users.docker_group")
