"""health.*: what the GPUs and the kernel say of errors."""

from __future__ import annotations

from typing import Any

import pytest
from support.evidence import NOW

from gpuhost.model import Verdict

FELL_OFF = "NVRM: Xid (PCI:0000:0f:00): 79, pid=1, GPU has fallen off the bus."
HEALTH = ("ecc", "rows", "inforom", "recovery", "compute_mode")
SPEED = ("pcie", "nvlink", "clocks", "temperature", "power")
ALL = [*(f"health.{name}" for name in HEALTH), *(f"speed.{name}" for name in SPEED)]


def spoil(host: Any, gpu: int, **values: Any) -> None:
    host.section("health")["gpus"][gpu].update(values)


def log(host: Any, *lines: str, age_s: float = 60.0) -> None:
    host.section("kernel_log")["lines"] += [{"time": NOW - age_s, "text": line} for line in lines]


@pytest.mark.parametrize(
    ("check", "values", "verdict", "words"),
    [
        ("ecc", {"ecc_uncorrected": 3}, Verdict.FAIL, ("wrong data", "--gpu-reset -i 2")),
        ("ecc", {"ecc_pending": False}, Verdict.WARN, ("nvidia-smi -e", "--gpu-reset -i 2")),
        ("ecc", {"ecc_current": False, "ecc_pending": False}, Verdict.WARN, ("part", "-e 1 -i 2")),
        ("rows", {"retired_pages_pending": True}, Verdict.FAIL, ("until", "--gpu-reset -i 2")),
        ("inforom", {"inforom_valid": False}, Verdict.FAIL, ("flash memory", "support")),
        ("recovery", {"recovery_action": 1}, Verdict.FAIL, ("health.xid", "--gpu-reset -i 2")),
        ("recovery", {"recovery_action": 2}, Verdict.FAIL, ("health.xid", "systemctl reboot")),
        ("recovery", {"recovery_action": 99}, Verdict.FAIL, ("health.xid", "nvidia-smi -q -i 2")),
        ("compute_mode", {"compute_mode": 2}, Verdict.FAIL, ("nvidia-smi -c", "DEFAULT -i 2")),
        ("compute_mode", {"compute_mode": 3}, Verdict.WARN, ("nvidia-smi -c", "DEFAULT -i 2")),
    ],
)
def test_an_ill_gpu_is_named_with_what_mends_it(
    host: Any, check: str, values: dict[str, Any], verdict: Verdict, words: tuple[str, str]
) -> None:
    spoil(host, 2, **values)
    result = host.check(f"health.{check}")
    cause, remedy = words
    assert result.verdict is verdict
    assert "GPU 2" in result.summary
    assert "GPU 0" not in result.seen.split(";", maxsplit=1)[0]
    assert cause in result.cause
    assert remedy in result.remedy


@pytest.mark.parametrize(("key", "words"), [("pending", "waits"), ("failed", "any more")])
def test_rows_that_wait_and_rows_that_cannot_be_remapped_fail(
    host: Any, key: str, words: str
) -> None:
    host.section("health")["gpus"][1]["remapped_rows"][key] = True
    result = host.check("health.rows")
    assert result.verdict is Verdict.FAIL
    assert words in result.summary


def test_errors_of_the_past_are_told_and_no_alarm(host: Any) -> None:
    spoil(host, 0, ecc_uncorrected_ever=7)
    host.section("health")["gpus"][0]["remapped_rows"]["uncorrected"] = 2
    assert host.check("health.ecc").summary.endswith("7 long ago")
    assert "2 rows" in host.check("health.rows").summary
    assert host.check("health.rows").verdict is Verdict.PASS


def test_ecc_that_is_off_everywhere_is_how_somebody_wants_it(host: Any) -> None:
    for gpu in range(4):
        spoil(host, gpu, ecc_current=False, ecc_pending=False)
    assert host.check("health.ecc").verdict is Verdict.PASS


@pytest.mark.parametrize("check", ALL)
def test_what_no_gpu_supports_is_skipped_and_never_passed(host: Any, check: str) -> None:
    for gpu in host.section("health")["gpus"]:
        kept = ("index", "uuid", "failures", "nvlinks")
        gpu.update({key: None for key in gpu if key not in kept}, nvlinks=[])
    assert host.check(check).verdict in (Verdict.SKIP, Verdict.PASS)
    if check != "health.compute_mode":
        assert host.check(check).verdict is Verdict.SKIP


@pytest.mark.parametrize("check", ALL)
def test_a_gpu_that_cannot_be_asked_is_never_passed(host: Any, check: str) -> None:
    spoil(host, 1, failures={"handle": "GPU is lost"})
    result = host.check(check)
    assert result.verdict is Verdict.UNKNOWN
    assert "GPU 1: GPU is lost" in result.seen
    assert "fallen off" in result.cause


@pytest.mark.parametrize("check", ALL)
def test_nvml_that_does_not_answer_is_never_passed(host: Any, check: str) -> None:
    failure = {"code": 18, "name": "", "text": "Driver/library version mismatch"}
    host.section("health").update(failure=failure, gpus=[])
    result = host.check(check)
    assert result.verdict is Verdict.UNKNOWN
    assert "version mismatch" in result.seen


def test_a_value_that_cannot_be_read_is_shown_with_its_reason(host: Any) -> None:
    spoil(host, 3, failures={"recovery_action": "the moon is full"})
    result = host.check("health.recovery")
    assert result.verdict is Verdict.UNKNOWN
    assert "GPU 3: recovery_action: the moon is full" in result.seen


# ------------------------------------------------------------------------- Xid


@pytest.mark.parametrize(
    ("number", "verdict", "remedy"),
    [
        (48, Verdict.FAIL, "--gpu-reset"),
        (64, Verdict.FAIL, "support"),
        (79, Verdict.FAIL, "systemctl reboot"),
        (74, Verdict.FAIL, "nvlink"),
        (149, Verdict.FAIL, "nvlink"),
        (119, Verdict.FAIL, "--gpu-reset"),
        (94, Verdict.WARN, "Restart the program"),
        (154, Verdict.WARN, "recovery action"),
        (31, Verdict.WARN, "Look at the program"),
        (63, Verdict.PASS, ""),
        (9999, Verdict.WARN, "nvidia-bug-report"),
    ],
)
def test_each_xid_is_judged_by_what_it_asks_for(
    host: Any, number: int, verdict: Verdict, remedy: str
) -> None:
    log(host, f"NVRM: Xid (PCI:0000:0f:00): {number}, pid=1, some words")
    result = host.check("health.xid")
    assert result.verdict is verdict
    assert remedy in result.remedy
    if verdict is not Verdict.PASS:
        assert f"Xid {number}" in result.cause
        assert "some words" in result.seen


def test_the_worst_xid_is_told_first_and_the_others_are_shown(host: Any) -> None:
    log(host, "NVRM: Xid (PCI:0000:0f:00): 31, pid=1, a program", FELL_OFF)
    result = host.check("health.xid")
    assert result.verdict is Verdict.FAIL
    assert result.seen.splitlines() == [
        FELL_OFF,
        "NVRM: Xid (PCI:0000:0f:00): 31, pid=1, a program",
    ]


def test_an_xid_of_last_week_is_told_and_no_alarm(host: Any) -> None:
    log(host, FELL_OFF, age_s=7 * 86400)
    result = host.check("health.xid")
    assert result.verdict is Verdict.PASS
    assert "1 older" in result.summary


def test_an_xid_whose_time_is_unknown_counts_as_new(host: Any) -> None:
    host.section("kernel_log")["lines"].append({"time": None, "text": FELL_OFF})
    assert host.check("health.xid").verdict is Verdict.FAIL


def test_a_gpu_that_is_gone_from_the_bus_is_said_to_be(host: Any) -> None:
    log(host, FELL_OFF.replace("0f", "aa"))
    assert "not on the PCI bus any more: 0000:aa:00.0" in host.check("health.xid").seen


def test_a_fatal_error_of_a_switch_fails_and_others_do_not(host: Any) -> None:
    log(host, "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46")
    assert host.check("health.xid").verdict is Verdict.PASS
    log(host, "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 24007, Fatal, Link 44")
    result = host.check("health.xid")
    assert result.verdict is Verdict.FAIL
    assert "NVSwitch" in result.cause
    assert "fabricmanager" in result.remedy


def test_a_log_that_cannot_be_read_is_never_passed(host: Any) -> None:
    host.evidence["sections"]["kernel_log"].update(
        error="the kernel's log cannot be read", data=None
    )
    assert host.check("health.xid").verdict is Verdict.UNKNOWN


# ----------------------------------------------------------------------- speed


@pytest.mark.parametrize(
    ("check", "values", "verdict", "words"),
    [
        ("pcie", {"pcie_width": 8}, Verdict.FAIL, "×8 of ×16"),
        (
            "pcie",
            {"pcie_generation": 1, "utilisation_percent": 90},
            Verdict.WARN,
            "generation 1 of 4",
        ),
        ("nvlink", {"nvlinks": [True] * 11 + [False]}, Verdict.FAIL, "link 11"),
        ("clocks", {"clocks_event_reasons": 0x48}, Verdict.FAIL, "hardware thermal slowdown"),
        ("clocks", {"clocks_event_reasons": 0x80}, Verdict.FAIL, "power brake"),
        ("clocks", {"clocks_event_reasons": 0x20}, Verdict.WARN, "software thermal"),
        ("temperature", {"temperature_c": 86}, Verdict.FAIL, "86 °C"),
        ("temperature", {"temperature_c": 82}, Verdict.WARN, "82 °C"),
        ("temperature", {"temperature_margin_c": -2}, Verdict.FAIL, "-2 °C left"),
        ("temperature", {"memory_temperature_c": 96}, Verdict.FAIL, "memory 96 °C"),
        ("power", {"power_limit_w": 250.0}, Verdict.WARN, "250 of 400 W"),
        ("power", {"failures": {"power": "Unknown Error"}}, Verdict.FAIL, "Unknown Error"),
    ],
)
def test_what_slows_a_gpu_down_is_named(
    host: Any, check: str, values: dict[str, Any], verdict: Verdict, words: str
) -> None:
    spoil(host, 2, **values)
    result = host.check(f"speed.{check}")
    assert result.verdict is verdict
    assert "GPU 2" in result.summary
    assert words in result.seen
    assert result.cause
    assert result.remedy


def test_a_link_that_rests_with_its_gpu_is_no_alarm(host: Any) -> None:
    for gpu in range(4):
        spoil(host, gpu, pcie_generation=1)
    assert host.check("speed.pcie").verdict is Verdict.PASS


@pytest.mark.parametrize("reason", [0x0, 0x1, 0x2, 0x4, 0x10, 0x100, 0x107])
def test_idle_clocks_and_the_power_cap_are_no_alarm(host: Any, reason: int) -> None:
    for gpu in range(4):
        spoil(host, gpu, clocks_event_reasons=reason)
    assert host.check("speed.clocks").verdict is Verdict.PASS


def test_a_board_that_uses_a_part_of_its_links_is_no_alarm(host: Any) -> None:
    for gpu in range(4):
        spoil(host, gpu, nvlinks=[True, True, False, False])
    assert host.check("speed.nvlink").verdict is Verdict.PASS


def test_links_that_nobody_uses_are_skipped(host: Any) -> None:
    for gpu in range(4):
        spoil(host, gpu, nvlinks=[False] * 12)
    assert host.check("speed.nvlink").verdict is Verdict.SKIP


def test_a_limit_that_holds_for_all_gpus_is_how_somebody_wants_it(host: Any) -> None:
    for gpu in range(4):
        spoil(host, gpu, power_limit_w=300.0)
    result = host.check("speed.power")
    assert result.verdict is Verdict.PASS
    assert "lower than made for" in result.summary
