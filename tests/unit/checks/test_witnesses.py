"""smi.agrees, and nvidia-smi as the witness that remains where NVML could not be loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gpuhost.model import Verdict

NO_CTYPES = "ModuleNotFoundError: No module named '_ctypes'"
TOLD_BY_SMI = ("health.ecc", "health.rows", "health.recovery", "health.compute_mode")


def edit(host: Any, gpu: int, tag: str, body: str) -> None:
    """Change what nvidia-smi's XML says of one GPU."""
    command = host.section("nvidia_smi")["query_xml"]
    parts = command["stdout"].split("<gpu ")
    parts[gpu + 1] = re.sub(f"<{tag}>[^<]*<", f"<{tag}>{body}<", parts[gpu + 1], count=1)
    changed = "<gpu ".join(parts)
    assert changed != command["stdout"]
    command["stdout"] = changed


def unload_nvml(host: Any) -> None:
    for name in ("nvml", "health"):
        host.evidence["sections"][name].update(data=None, error=NO_CTYPES)


def test_two_witnesses_that_agree_pass_and_say_on_how_much(host: Any) -> None:
    result = host.check("smi.agrees")
    assert result.verdict is Verdict.PASS
    found = re.match(r"(\d+) statements about 4 GPUs", result.summary)
    assert found
    assert int(found[1]) > 4 * 12


@pytest.mark.parametrize(
    ("tag", "body", "words"),
    [
        ("persistence_mode", "Disabled", "persistence mode: nvidia-smi off, NVML on"),
        ("current_mig", "Enabled", "MIG mode: nvidia-smi on, NVML off"),
        ("uuid", "GPU-03d91bdd-e1b1-e418-7862-ffffffffffff", "the UUID"),
        ("serial", "1650000000099", "the serial number"),
        ("current_ecc", "Disabled", "ECC: nvidia-smi off, NVML on"),
        ("pending_ecc", "Disabled", "ECC after a reset"),
        ("dram_uncorrectable", "7", "uncorrected errors: nvidia-smi some, NVML none"),
        ("remapped_row_pending", "Yes", "pending rows: nvidia-smi on, NVML off"),
        ("remapped_row_unc", "2", "remapped rows: nvidia-smi 2, NVML 0"),
        ("compute_mode", "Prohibited", "compute mode: nvidia-smi 2, NVML 0"),
        ("gpu_recovery_action", "Reset", "recovery action: nvidia-smi 1, NVML 0"),
    ],
)
def test_a_value_on_which_they_differ_is_named(host: Any, tag: str, body: str, words: str) -> None:
    edit(host, 2, tag, body)
    result = host.check("smi.agrees")
    assert result.verdict is Verdict.FAIL
    assert words in result.seen
    assert "GPU 1" not in result.seen
    assert "type -a nvidia-smi" in result.remedy


@pytest.mark.parametrize("tag", ["driver_version", "cuda_version"])
def test_versions_are_compared(host: Any, tag: str) -> None:
    command = host.section("nvidia_smi")["query_xml"]
    command["stdout"] = re.sub(f"<{tag}>[^<]*<", f"<{tag}>1.2<", command["stdout"])
    result = host.check("smi.agrees")
    assert result.verdict is Verdict.FAIL
    assert "nvidia-smi 1.2" in result.seen


@pytest.mark.parametrize("tag", ["persistence_mode", "serial", "current_ecc", "remapped_row_unc"])
def test_what_one_of_them_does_not_tell_is_not_compared(host: Any, tag: str) -> None:
    edit(host, 1, tag, "N/A")
    assert host.check("smi.agrees").verdict is Verdict.PASS


@pytest.mark.parametrize("text", ["", "<nvidia_smi_log>", "rubbish"])
def test_a_document_that_cannot_be_read_is_never_passed(host: Any, text: str) -> None:
    host.section("nvidia_smi")["query_xml"]["stdout"] = text
    assert host.check("smi.agrees").verdict is Verdict.UNKNOWN


def test_without_a_gpu_in_common_there_is_nothing_to_pass(host: Any) -> None:
    host.section("nvml")["gpus"] = []
    host.section("health")["gpus"] = []
    assert host.check("smi.agrees").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("check", TOLD_BY_SMI)
def test_where_nvml_could_not_be_loaded_nvidia_smi_is_believed_and_named(
    host: Any, check: str
) -> None:
    unload_nvml(host)
    result = host.check(check)
    assert result.verdict is Verdict.PASS
    assert "as nvidia-smi tells" in result.summary


@pytest.mark.parametrize(
    ("check", "tag", "body", "words"),
    [
        ("health.ecc", "dram_uncorrectable", "2", "GPU 1: 2"),
        ("health.rows", "remapped_row_pending", "Yes", "GPU 1"),
        ("health.recovery", "gpu_recovery_action", "Reboot", "GPU 1"),
        ("health.compute_mode", "compute_mode", "Prohibited", "GPU 1"),
    ],
)
def test_an_ill_gpu_is_found_without_nvml(
    host: Any, check: str, tag: str, body: str, words: str
) -> None:
    unload_nvml(host)
    edit(host, 1, tag, body)
    result = host.check(check)
    assert result.verdict is Verdict.FAIL
    assert words in result.seen


def test_what_only_nvml_tells_stays_unknown_without_it(host: Any) -> None:
    unload_nvml(host)
    for check in ("health.inforom", "speed.nvlink", "smi.agrees", "driver.nvml"):
        assert host.check(check).verdict is Verdict.UNKNOWN, check
    assert "has no ctypes" in host.check("driver.nvml").cause


def test_a_real_machine_is_judged_by_its_xml_alone(host: Any, captures: Path) -> None:
    text = (captures / "hardware/qx-h100.xml").read_text()
    host.section("nvidia_smi")["query_xml"]["stdout"] = text
    unload_nvml(host)
    for check in (
        *TOLD_BY_SMI,
        *(f"speed.{n}" for n in ("pcie", "clocks", "temperature", "power")),
    ):
        assert host.check(check).verdict is Verdict.PASS, check


def test_nvml_that_answers_is_believed_over_nvidia_smi(host: Any) -> None:
    edit(host, 1, "dram_uncorrectable", "2")
    assert host.check("health.ecc").verdict is Verdict.PASS


@pytest.mark.parametrize(("code", "verdict"), [(12, Verdict.PASS), (999, Verdict.UNKNOWN)])
def test_a_library_that_is_not_found_is_not_one_that_failed(
    host: Any, code: int, verdict: Verdict
) -> None:
    host.section("health").update(failure={"code": code, "name": "", "text": "x"}, gpus=[])
    assert host.check("health.ecc").verdict is verdict


@pytest.mark.parametrize("rc", [9, None])
def test_without_either_witness_health_is_unknown(host: Any, rc: int | None) -> None:
    unload_nvml(host)
    host.section("nvidia_smi")["query_xml"]["rc"] = rc
    result = host.check("health.ecc")
    assert result.verdict is Verdict.UNKNOWN
    assert NO_CTYPES in result.seen
