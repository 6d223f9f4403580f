"""The GPUs' health as ``nvidia-smi -q -x`` tells it, in the form in which NVML's is kept.

N/A is what a GPU does not support. A node that is not there, as drivers of
another age have it, or that is not understood, is a failure of its field: it
must not be taken for "not supported".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar
from xml.etree import ElementTree as ET

from gpuhost.parse.nvidia_smi import NOT_AVAILABLE, is_trouble, read_log
from gpuhost.probe.schema import GpuHealth, Health, RemappedRows

Value = TypeVar("Value")

# Each driver has one of these families, or with Turing and before the last of them.
ECC_COUNTERS = (
    "dram_uncorrectable",
    "sram_uncorrectable",
    "sram_uncorrectable_parity",
    "sram_uncorrectable_secded",
    "double_bit/total",
)
COMPUTE_MODES = {"default": 0, "exclusive_thread": 1, "prohibited": 2, "exclusive_process": 3}
RECOVERY_ACTIONS = {"none": 0, "reset": 1, "reboot": 2, "drain p2p": 3, "drain and reset": 4}
# Bits of nvmlClocksEventReasons, by the end of their node's name.
CLOCK_REASONS = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clocks_setting": 0x100,
}
# What only NVML tells.
UNTOLD = dict.fromkeys(("inforom", "nvlinks"), "nvidia-smi's XML does not tell it")


def parse_health(text: str) -> Health:
    """Every GPU of ``nvidia-smi -q -x``; raises ParseError where it is not that document."""
    gpus = read_log(text).findall("gpu")
    return {"failure": None, "gpus": [_Gpu(gpu).health(index) for index, gpu in enumerate(gpus)]}


class _Gpu:
    """Reads one GPU's part of the document; what goes wrong is kept by field."""

    def __init__(self, element: ET.Element) -> None:
        self._element = element
        self._failures: dict[str, str] = dict(UNTOLD)

    def health(self, index: int) -> GpuHealth:
        tell, may_tell = self._tell, self._may_tell
        link, power = "pci/pci_gpu_link_info", "gpu_power_readings"
        return {
            "index": index,
            "uuid": tell("uuid", str, "uuid"),
            "utilisation_percent": may_tell("utilisation", _whole, "utilization/gpu_util"),
            "ecc_current": tell("ecc", _enabled, "ecc_mode/current_ecc"),
            "ecc_pending": tell("ecc", _enabled, "ecc_mode/pending_ecc"),
            "ecc_uncorrected": self._ecc("ecc_uncorrected", "ecc_errors/volatile"),
            "ecc_uncorrected_ever": self._ecc("ecc_uncorrected_ever", "ecc_errors/aggregate"),
            "retired_pages_pending": tell(
                "retired_pages_pending",
                _yes,
                "retired_pages/pending_retirement",
                "retired_pages/pending_blacklist",
            ),
            "remapped_rows": self._rows("remapped_rows"),
            "pcie_generation": tell("pcie_generation", _whole, f"{link}/pcie_gen/current_link_gen"),
            "pcie_generation_max": tell(
                "pcie_generation_max", _whole, f"{link}/pcie_gen/max_link_gen"
            ),
            "pcie_width": tell("pcie_width", _whole, f"{link}/link_widths/current_link_width"),
            "pcie_width_max": tell("pcie_width_max", _whole, f"{link}/link_widths/max_link_width"),
            "clocks_event_reasons": self._clocks("clocks_event_reasons"),
            "temperature_c": tell("temperature", _whole, "temperature/gpu_temp"),
            "temperature_max_c": may_tell(
                "temperature_max", _whole, "temperature/gpu_temp_max_gpu_threshold"
            ),
            "temperature_slowdown_c": may_tell(
                "temperature_slowdown", _whole, "temperature/gpu_temp_slow_threshold"
            ),
            "temperature_margin_c": may_tell(
                "temperature_margin", _whole, "temperature/gpu_temp_tlimit"
            ),
            "memory_temperature_c": may_tell(
                "memory_temperature", _whole, "temperature/memory_temp"
            ),
            "memory_temperature_max_c": may_tell(
                "memory_temperature_max", _whole, "temperature/gpu_temp_max_mem_threshold"
            ),
            "power_w": may_tell(
                "power",
                _number,
                f"{power}/instant_power_draw",
                f"{power}/power_draw",
                "power_readings/power_draw",
            ),
            "power_limit_w": tell(
                "power_limit",
                _number,
                f"{power}/current_power_limit",
                f"{power}/enforced_power_limit",
                "power_readings/enforced_power_limit",
            ),
            "power_default_limit_w": tell(
                "power_default_limit",
                _number,
                f"{power}/default_power_limit",
                "power_readings/default_power_limit",
            ),
            "compute_mode": tell("compute_mode", _one_of(COMPUTE_MODES), "compute_mode"),
            "recovery_action": may_tell(
                "recovery_action", _one_of(RECOVERY_ACTIONS), "gpu_recovery_action"
            ),
            "inforom_valid": None,
            "nvlinks": [],
            "failures": self._failures,
        }

    def _tell(self, field: str, convert: Callable[[str], Value], *paths: str) -> Value | None:
        """What the first of the nodes says that there is; that there is none is a failure."""
        node = self._first(paths)
        if node is None:
            self._failures[field] = f"nvidia-smi's XML has no {paths[0]}"
            return None
        return self._said(field, convert, node)

    def _may_tell(self, field: str, convert: Callable[[str], Value], *paths: str) -> Value | None:
        """The same of what only some drivers have a node for."""
        node = self._first(paths)
        return None if node is None else self._said(field, convert, node)

    def _first(self, paths: Iterable[str]) -> ET.Element | None:
        found = (self._element.find(path) for path in paths)
        return next((node for node in found if node is not None), None)

    def _said(self, field: str, convert: Callable[[str], Value], node: ET.Element) -> Value | None:
        body = (node.text or "").strip()
        if is_trouble(body):
            self._failures[field] = body
            return None
        if body in NOT_AVAILABLE:
            return None
        try:
            return convert(body)
        except ValueError:
            self._failures[field] = f"nvidia-smi says {body!r} of {node.tag}"
            return None

    def _ecc(self, field: str, group: str) -> int | None:
        paths = [f"{group}/{name}" for name in ECC_COUNTERS]
        there = [path for path in paths if self._first([path]) is not None]
        told = [self._tell(field, _whole, path) for path in there or paths[:1]]
        counts = [count for count in told if count is not None]
        return sum(counts) if counts else None

    def _rows(self, field: str) -> RemappedRows | None:
        node = self._element.find("remapped_rows")
        if node is not None and not len(node):
            self._said(field, _nothing, node)
            return None
        corrected = self._tell(field, _whole, "remapped_rows/remapped_row_corr")
        uncorrected = self._tell(field, _whole, "remapped_rows/remapped_row_unc")
        pending = self._tell(field, _yes, "remapped_rows/remapped_row_pending")
        failed = self._tell(field, _yes, "remapped_rows/remapped_row_failure")
        if corrected is None or uncorrected is None or pending is None or failed is None:
            return None
        return {
            "corrected": corrected,
            "uncorrected": uncorrected,
            "pending": pending,
            "failed": failed,
        }

    def _clocks(self, field: str) -> int | None:
        node = self._first(("clocks_event_reasons", "clocks_throttle_reasons"))
        if node is None or not len(node):
            self._tell(field, _nothing, "clocks_event_reasons", "clocks_throttle_reasons")
            return None
        active = [child.tag for child in node if (child.text or "").strip() == "Active"]
        return sum(
            bit
            for name, bit in CLOCK_REASONS.items()
            if any(tag.endswith(f"_reason_{name}") for tag in active)
        )


def _whole(body: str) -> int:
    """``31 C``, ``16x``, ``0 %``, ``-2 C``."""
    return int(body.split(maxsplit=1)[0].removesuffix("x"))


def _number(body: str) -> float:
    return float(body.split(maxsplit=1)[0])


def _enabled(body: str) -> bool:
    return _one_of({"disabled": 0, "enabled": 1})(body) == 1


def _yes(body: str) -> bool:
    return _one_of({"no": 0, "yes": 1})(body) == 1


def _nothing(body: str) -> None:
    raise ValueError(body)


def _one_of(words: dict[str, int]) -> Callable[[str], int]:
    def number(body: str) -> int:
        if body.lower() not in words:
            raise ValueError(body)
        return words[body.lower()]

    return number
