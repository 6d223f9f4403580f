from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.errors import ParseError
from gpuhost.parse.smi_health import UNTOLD, parse_health
from gpuhost.probe.schema import GpuHealth

CAPTURES = ("a100", "b200", "gb200", "gb300", "h100", "l40s", "t4")
# Of these a limit says nothing about health, and only some drivers tell them.
MAY_BE_NONE = {
    *("memory_temperature_c", "memory_temperature_max_c", "temperature_margin_c"),
    *("temperature_max_c", "temperature_slowdown_c", "inforom_valid"),
    *("retired_pages_pending", "remapped_rows"),
}


def first(text: str) -> Any:
    return parse_health(text)["gpus"][0]


@pytest.fixture
def h100(captures: Path) -> str:
    return (captures / "hardware/qx-h100.xml").read_text()


@pytest.mark.parametrize("model", CAPTURES)
def test_a_real_machines_health_is_told_whole_and_good(captures: Path, model: str) -> None:
    text = (captures / f"hardware/qx-{model}.xml").read_text()
    gpus: list[Any] = list(parse_health(text)["gpus"])
    assert gpus
    for gpu in gpus:
        assert gpu["failures"] == UNTOLD
        assert {name for name in gpu if gpu[name] is None} <= MAY_BE_NONE
        assert gpu.keys() == GpuHealth.__annotations__.keys()
        assert (gpu["ecc_current"], gpu["ecc_uncorrected"], gpu["compute_mode"]) == (True, 0, 0)
        assert gpu["recovery_action"] == 0
        assert gpu["clocks_event_reasons"] == 1, "at rest"
        assert 20 < gpu["temperature_c"] < 60
        # It repairs its memory in one of the two ways.
        assert (gpu["remapped_rows"] is None) != (gpu["retired_pages_pending"] is None)


def edited(text: str, tag: str, body: str) -> str:
    found = re.sub(f"<{tag}>[^<]*<", f"<{tag}>{body}<", text, count=1)
    assert found != text
    return found


@pytest.mark.parametrize(
    ("tag", "body", "field", "value"),
    [
        ("sram_uncorrectable_parity", "2", "ecc_uncorrected", 2),
        ("pending_ecc", "Disabled", "ecc_pending", False),
        ("pending_retirement", "Yes", "retired_pages_pending", True),
        ("compute_mode", "Prohibited", "compute_mode", 2),
        ("gpu_recovery_action", "Drain and Reset", "recovery_action", 4),
        ("clocks_event_reason_hw_thermal_slowdown", "Active", "clocks_event_reasons", 0x41),
        ("current_link_width", "4x", "pcie_width", 4),
        ("gpu_temp_tlimit", "-2 C", "temperature_margin_c", -2),
        ("current_power_limit", "250.00 W", "power_limit_w", 250.0),
        ("utilization><gpu_util", "93 %", "utilisation_percent", 93),
    ],
)
def test_what_a_node_says_is_the_fields_value(
    h100: str, tag: str, body: str, field: str, value: object
) -> None:
    text = re.sub(r">\s+<", "><", h100)
    assert first(edited(text, tag, body))[field] == value


def test_rows_are_read_together(h100: str) -> None:
    text = edited(edited(h100, "remapped_row_unc", "3"), "remapped_row_pending", "Yes")
    assert first(text)["remapped_rows"] == {
        "corrected": 0,
        "uncorrected": 3,
        "pending": True,
        "failed": False,
    }


@pytest.mark.parametrize(
    ("tag", "field"),
    [
        ("current_ecc", "ecc"),
        ("compute_mode", "compute_mode"),
        ("remapped_row_failure", "remapped_rows"),
        ("current_link_width", "pcie_width"),
        ("gpu_recovery_action", "recovery_action"),
    ],
)
@pytest.mark.parametrize("body", ["Unknown Error", "GPU is lost", "something of a driver to come"])
def test_an_error_and_a_word_that_is_not_known_are_failures_and_no_value(
    h100: str, tag: str, field: str, body: str
) -> None:
    assert body in first(edited(h100, tag, body))["failures"][field]


def test_what_a_gpu_does_not_support_is_none_and_no_failure(h100: str) -> None:
    gpu = first(edited(h100, "current_ecc", "N/A"))
    assert gpu["ecc_current"] is None
    assert gpu["failures"] == UNTOLD


@pytest.mark.parametrize(
    ("tag", "field"),
    [
        ("ecc_mode", "ecc"),
        ("volatile", "ecc_uncorrected"),
        ("remapped_rows", "remapped_rows"),
        ("clocks_event_reasons", "clocks_event_reasons"),
        ("retired_pages", "retired_pages_pending"),
    ],
)
def test_a_node_that_is_not_there_is_not_taken_for_unsupported(
    h100: str, tag: str, field: str
) -> None:
    text = re.sub(f"<{tag}>.*?</{tag}>", "", h100, flags=re.DOTALL)
    gpu = first(text)
    assert "nvidia-smi's XML has no" in gpu["failures"][field]
    assert gpu.get(field) is None


def test_older_drivers_names_are_known_too(h100: str) -> None:
    text = h100.replace("clocks_event_reason", "clocks_throttle_reason")
    text = re.sub("gpu_power_readings", "power_readings", text)
    text = text.replace("instant_power_draw", "power_draw")
    text = text.replace("current_power_limit", "enforced_power_limit")
    gpu = first(text)
    assert gpu["clocks_event_reasons"] == 1
    assert gpu["power_limit_w"] == 700.0
    assert gpu["failures"] == UNTOLD


TAGS = st.sampled_from(
    [
        *("gpu", "uuid", "ecc_mode", "current_ecc", "ecc_errors", "volatile", "remapped_rows"),
        *("dram_uncorrectable", "double_bit", "total", "clocks_event_reasons", "compute_mode"),
        *("remapped_row_corr", "pci", "pci_gpu_link_info", "link_widths", "temperature", "new"),
    ]
)
BODIES = st.sampled_from(["N/A", "", "0", "Yes", "Enabled", "31 C", "16x", "ERR!", "x", "Active"])
NODES = st.recursive(
    st.builds(lambda tag, body: f"<{tag}>{body}</{tag}>", TAGS, BODIES),
    lambda inner: st.builds(
        lambda tag, children: f"<{tag}>{''.join(children)}</{tag}>", TAGS, st.lists(inner)
    ),
)


@given(st.lists(NODES), st.text(max_size=20))
def test_no_document_is_more_than_a_parse_error_and_none_has_half_a_gpu(
    nodes: list[str], rubbish: str
) -> None:
    with contextlib.suppress(ParseError):
        parse_health(rubbish)
    text = f"<nvidia_smi_log><gpu>{''.join(nodes)}</gpu></nvidia_smi_log>"
    gpus: list[Any] = list(parse_health(text)["gpus"])
    for gpu in gpus:
        assert gpu.keys() == GpuHealth.__annotations__.keys()
        assert UNTOLD.keys() <= gpu["failures"].keys()
