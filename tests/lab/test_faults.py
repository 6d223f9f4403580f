"""Faults made in a healthy host: each must be found, by the right check, with cause and remedy.

The most telling ones; `make fault-score` goes through all of them.
"""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from support.lab import Lab

from gpuhost.lab.faults import find, injected

TELLING = (
    "gpu-missing",
    "gpu-lost",
    "err-output",
    "rows-pending",
    "xid-79",
    "smi-cached",
    "python-without-ctypes",
    "driver-mismatch",
    "kernel-without-module",
    "toolkit-leak-one",
    "toolkit-swap",
    "cdi-other-gpus",
    "docker-stopped",
    "user-not-in-group",
)


def test_a_healthy_host_passes_every_check(lab: Lab, provisioned: str) -> None:
    verified = lab.verify(provisioned)
    assert verified.bad == {}
    assert verified.code == 0


@pytest.mark.parametrize("name", TELLING)
def test_the_fault_is_found_with_its_cause_and_remedy_and_nothing_else_is(
    lab: Lab, provisioned: str, name: str
) -> None:
    fault = find(name)
    with injected(lab.exec, provisioned, fault):
        verified = lab.verify(provisioned)
    result = verified.results[fault.check]
    assert result["verdict"] == fault.verdict, verified.bad
    assert verified.code in (1, 3)
    assert result["seen"]
    assert result["expected"]
    assert fault.cause in result["cause"]
    assert fault.remedy in result["remedy"]
    meant = (fault.check, *fault.consequences)
    assert [n for n in verified.bad if not any(fnmatch(n, each) for each in meant)] == []


def test_the_host_passes_again_once_the_faults_are_mended(lab: Lab, provisioned: str) -> None:
    assert lab.verify(provisioned).bad == {}


def test_a_fault_is_made_shown_and_mended_by_hand(lab: Lab, provisioned: str) -> None:
    assert "is not synchronised" not in lab.ok("verify", provisioned).stdout
    said = lab.ok("lab", "fault", provisioned, "clock-loose").stdout
    assert "nobody keeps the clock right" in said
    assert "clock-loose" in lab.ok("lab", "fault", provisioned, "--list").stdout
    assert lab.verify(provisioned).verdict("upkeep.clock") == "WARN"
    assert "clock-loose is mended" in lab.ok("lab", "fault", provisioned, "--clear").stdout
    assert lab.verify(provisioned).verdict("upkeep.clock") == "PASS"


@pytest.mark.parametrize(
    "name", ["registry-unknown-name", "registry-refuses", "registry-untrusted"]
)
def test_images_come_again_as_soon_as_the_way_to_the_registry_is_mended(
    lab: Lab, provisioned: str, name: str
) -> None:
    with injected(lab.exec, provisioned, find(name)):
        assert lab.verify(provisioned, "--check", "container.cuda").code == 1
    assert lab.verify(provisioned, "--check", "container.cuda").bad == {}


def test_memory_errors_are_found_where_nvml_cannot_be_loaded(lab: Lab, provisioned: str) -> None:
    with (
        injected(lab.exec, provisioned, find("python-without-ctypes")),
        injected(lab.exec, provisioned, find("ecc-uncorrected")),
    ):
        found = lab.verify(provisioned, "--suite", "quick").results
    assert found["health.ecc"]["verdict"] == "FAIL"
    assert "as nvidia-smi tells" in found["health.ecc"]["summary"]
    assert found["health.rows"]["verdict"] == "PASS"
    assert found["driver.nvml"]["verdict"] == "UNKNOWN"
