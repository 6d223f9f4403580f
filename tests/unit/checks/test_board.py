"""Verdicts on divided GPUs and NVSwitches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpuhost.model import Verdict

UNIT = "nvidia-fabricmanager.service"


def add_switches(host: Any, *, package: str | None, active: bool, state: int, status: int) -> None:
    """Put the host's GPUs on an NVSwitch board."""
    host.section("pci")["devices"].append(
        {
            "address": "0000:c0:00.0",
            "vendor": "0x10de",
            "device": "0x22a3",
            "class_code": "0x068000",
            "driver": "nvidia-nvswitch",
        }
    )
    driver = host.section("driver")
    driver["units"] = [u for u in driver["units"] if u["name"] != UNIT]
    if package:
        version = package.replace("<driver>", driver["loaded_version"])
        driver["packages"].append(
            {"name": "nvidia-fabricmanager", "version": version, "held": True}
        )
        driver["units"].append(
            {
                "name": UNIT,
                "load_state": "loaded",
                "active_state": "active" if active else "failed",
                "enabled_state": "enabled",
            }
        )
    for gpu in host.section("nvml")["gpus"]:
        gpu["fabric"] = {"state": state, "status": status}


def test_a_host_without_switches_has_no_fabric_to_judge(host: Any) -> None:
    assert host.check("gpu.fabric").verdict is Verdict.SKIP
    assert host.check("driver.fabric_manager").verdict is Verdict.SKIP


def test_a_completed_fabric_with_the_drivers_own_manager_passes(host: Any) -> None:
    add_switches(host, package="<driver>-1", active=True, state=3, status=0)
    assert host.check("gpu.fabric").verdict is Verdict.PASS
    assert host.check("driver.fabric_manager").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("state", "status", "words"), [(2, 0, "in progress"), (3, 999, "status 999")]
)
def test_gpus_that_have_not_joined_fail_with_their_state(
    host: Any, state: int, status: int, words: str
) -> None:
    add_switches(host, package=None, active=False, state=state, status=status)
    result = host.check("gpu.fabric")
    assert result.verdict is Verdict.FAIL
    assert words in result.seen
    assert UNIT in result.remedy


@pytest.mark.parametrize(
    ("package", "active", "words"),
    [
        (None, False, "not installed"),
        ("1.2.3-1", True, "another version"),
        ("<driver>-1", False, "does not run"),
    ],
)
def test_a_fabric_manager_that_does_not_fit_fails(
    host: Any, package: str | None, active: bool, words: str
) -> None:
    add_switches(host, package=package, active=active, state=3, status=0)
    result = host.check("driver.fabric_manager")
    assert result.verdict is Verdict.FAIL
    assert words in result.summary


def test_a_pending_mig_mode_fails_and_names_the_gpu(host: Any) -> None:
    host.section("nvml")["gpus"][2]["mig_pending"] = True
    result = host.check("gpu.mig_mode")
    assert result.verdict is Verdict.FAIL
    assert "GPU 2 is off, pending on" in result.seen
    assert "--gpu-reset -i 2" in result.remedy


def test_the_mig_devices_of_divided_gpus_are_counted(host: Any) -> None:
    device = {"index": 0, "uuid": "MIG-1", "name": "", "gpu_instance": 1, "compute_instance": 0}
    host.section("nvml")["gpus"][0].update(
        mig_current=True, mig_pending=True, mig_devices=[device, device]
    )
    result = host.check("gpu.mig_mode")
    assert (result.verdict, result.summary) == (Verdict.PASS, "on for 1 GPU: 2 MIG devices")


def test_gpus_that_cannot_be_divided_are_not_judged(host: Any) -> None:
    for gpu in host.section("nvml")["gpus"]:
        gpu["mig_current"] = gpu["mig_pending"] = None
    assert host.check("gpu.mig_mode").verdict is Verdict.SKIP


def test_evidence_from_before_these_fields_can_still_be_judged(host: Any) -> None:
    for gpu in host.section("nvml")["gpus"]:
        del gpu["mig_devices"], gpu["fabric"]
    assert host.check("gpu.mig_mode").verdict is Verdict.PASS
    assert host.check("gpu.fabric").verdict is Verdict.SKIP


WHOLE = {"whole": [{"devices": "all", "mig-enabled": False}]}
HALVES = {"halves": [{"devices": [1], "mig-enabled": True, "mig-devices": {"1g.5gb": 2}}]}


def declared(host: Any, layout: str = "halves") -> Any:
    host.desired = replace(host.desired, mig_layout=layout, mig_config=HALVES)
    return host.check("gpu.mig")


def test_a_declared_layout_is_compared_with_what_is_found(host: Any) -> None:
    assert declared(host, "").verdict is Verdict.SKIP
    result = declared(host)
    assert result.verdict is Verdict.FAIL
    assert result.seen == "GPU 1 is whole"
    assert result.expected == "GPU 1 is 2 × 1g.5gb"
    gpu = host.section("nvml")["gpus"][1]
    gpu["mig_current"] = gpu["mig_pending"] = True
    gpu["mig_devices"] = [{"index": n, "uuid": None, "name": "X MIG 1g.5gb"} for n in range(2)]
    assert declared(host).verdict is Verdict.PASS
    assert declared(host, "").verdict is Verdict.SKIP


def test_a_layout_that_speaks_of_no_gpu_here_proves_nothing(host: Any) -> None:
    host.section("nvml")["gpus"] = []
    assert declared(host).verdict is Verdict.UNKNOWN


def test_a_gpu_that_the_layout_does_not_speak_of_must_not_be_divided(host: Any) -> None:
    for index in (1, 3):
        gpu = host.section("nvml")["gpus"][index]
        gpu["mig_current"] = gpu["mig_pending"] = True
        gpu["mig_devices"] = [{"index": n, "name": "X MIG 1g.5gb"} for n in range(2)]
    result = declared(host)
    assert result.verdict is Verdict.WARN
    assert result.seen == "GPU 3 is 2 × 1g.5gb"
    assert "nvidia-smi -mig 0 -i 3" in result.remedy


@pytest.mark.parametrize("field", ["mig", "handle"])
def test_a_gpu_whose_mode_cannot_be_read_is_not_taken_for_whole(host: Any, field: str) -> None:
    host.section("nvml")["gpus"][2].update(mig_current=None, failures={field: "GPU is lost"})
    host.desired = replace(host.desired, mig_layout="whole", mig_config=WHOLE)
    result = host.check("gpu.mig")
    assert result.verdict is Verdict.UNKNOWN
    assert "GPU 2: GPU is lost" in result.seen
