"""Faults made in a healthy host: each must be found, by the right check, with cause and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support.lab import Lab

from gpuhost.lab.gpu.faults import DriverMismatch, ErrOutput, Fault, GpuLost, GpuMissing
from gpuhost.lab.toolkit.faults import Misbehaviour


@dataclass(frozen=True)
class Commands:
    """A fault that is made and mended by a shell command each."""

    make: str
    mend: str

    def inject(self, execute: object, host: str) -> None:
        execute(host, ["sh", "-c", self.make])  # type: ignore[operator]

    def clear(self, execute: object, host: str) -> None:
        execute(host, ["sh", "-c", self.mend])  # type: ignore[operator]


# systemd gives up on a service that is started too often; operators are slower than tests.
START_DOCKER = "systemctl reset-failed docker.service docker.socket; systemctl start docker"
STALE_CDI = Commands(
    make="sed -i 's/GPU-[0-9a-f]\\{8\\}/GPU-00000000/' /var/run/cdi/nvidia.yaml",
    mend="systemctl reset-failed nvidia-cdi-refresh.service; "
    "systemctl restart nvidia-cdi-refresh.service",
)


@dataclass(frozen=True)
class Case:
    """A fault with the check that must find it, and words of its cause and its remedy."""

    name: str
    fault: Fault
    check: str
    cause: str
    remedy: str
    verdict: str = "FAIL"


CASES = [
    Case("a GPU missing", GpuMissing(2), "gpu.count", "bus", "dmesg"),
    Case("a GPU lost", GpuLost(1), "smi.list", "fallen off", "reboot"),
    Case("CDI spec stale", STALE_CDI, "cdi.matches", "changed", "nvidia-cdi-refresh"),
    Case(
        "one GPU too many",
        Misbehaviour("leak-one"),
        "partition.gpus",
        "toolkit",
        "nvidia_container_toolkit_version",
    ),
    Case("two GPUs swapped", Misbehaviour("swap"), "partition.runtime", "stale", "toolkit"),
    Case("driver not on disk", DriverMismatch("575.57.08"), "driver.versions", "old", "reboot"),
    Case(
        "docker stopped",
        Commands("systemctl stop docker.socket docker.service", START_DOCKER),
        "docker.running",
        "docker",
        "systemctl enable --now docker",
    ),
    Case(
        "user not in the group",
        Commands("gpasswd -d alice docker", "gpasswd -a alice docker"),
        "users.docker_group",
        "never added",
        "usermod -aG docker alice",
    ),
    Case("ERR! with exit code 0", ErrOutput(0), "smi.output", "", ""),
]


@contextmanager
def injected(lab: Lab, host: str, fault: Fault) -> Iterator[None]:
    fault.inject(lab.exec, host)
    try:
        yield
    finally:
        fault.clear(lab.exec, host)


def test_a_healthy_host_passes_every_check(lab: Lab, provisioned: str) -> None:
    verified = lab.verify(provisioned)
    assert verified.bad == {}
    assert verified.code == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_fault_is_found_with_its_cause_and_remedy(
    lab: Lab, provisioned: str, case: Case
) -> None:
    with injected(lab, provisioned, case.fault):
        verified = lab.verify(provisioned)
    result = verified.results[case.check]
    assert result["verdict"] == case.verdict, verified.bad
    assert verified.code in (1, 3)
    assert result["seen"]
    assert result["expected"]
    assert result["cause"]
    assert result["remedy"]
    assert case.cause in result["cause"]
    assert case.remedy in result["remedy"]


def test_the_host_passes_again_once_the_faults_are_mended(lab: Lab, provisioned: str) -> None:
    assert lab.verify(provisioned).bad == {}
