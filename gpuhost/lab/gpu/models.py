"""The GPU models that a lab host can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gpuhost.errors import UsageError
from gpuhost.lab.gpu import mig
from gpuhost.suggest import did_you_mean

DEFAULT = "A100"
ON_SWITCH_BOARD = "-HGX"

MIB = 1024 * 1024
NVIDIA_VENDOR = 0x10DE
NVML_BRAND_NVIDIA = 14
NVML_ARCHITECTURES = {
    "Pascal": 4,
    "Volta": 5,
    "Turing": 6,
    "Ampere": 7,
    "Ada Lovelace": 8,
    "Hopper": 9,
    "Blackwell": 10,
}
FIRST_WITH_GSP = NVML_ARCHITECTURES["Turing"]
FIRST_WITH_FABRIC_STATE = NVML_ARCHITECTURES["Hopper"]
FABRIC_IN_PROGRESS = 2
CLOCKS_IDLE = 0x1
CLOCKS_EVENT_REASONS = 0x1FF


@dataclass(frozen=True)
class Model:
    """One model, named by its key; models.yml says what the fields hold and in which unit."""

    key: str
    name: str
    architecture: str
    compute_capability: str
    device_id: int
    subsystem_id: int
    memory_mib: Mapping[str, int]
    pcie: Mapping[str, int]
    power_w: Mapping[str, float]
    clocks_mhz: Mapping[str, int]
    temperature_c: Mapping[str, int]
    mig: Mapping[str, Any] | None
    drivers: Mapping[str, Any]
    remapper_banks: int | None = None
    nvswitches: Mapping[str, int] | None = None
    nvlinks: int = 0

    @property
    def card(self) -> str:
        """The key of the GPU itself, whatever board it is on: what an operator declares."""
        return self.key.removesuffix(ON_SWITCH_BOARD)

    def nvml(self) -> dict[str, str | int]:
        """What one healthy GPU of this model tells NVML, in the units of NVML's functions."""
        architecture = NVML_ARCHITECTURES[self.architecture]
        power = {name: round(watts * 1000) for name, watts in self.power_w.items()}
        values: dict[str, str | int] = {
            "name": self.name,
            "brand": NVML_BRAND_NVIDIA,
            "architecture": architecture,
            "compute_capability": self.compute_capability,
            "pci_device": f"{self.device_id:#06x}{NVIDIA_VENDOR:04x}",
            "pci_subsystem": f"{self.subsystem_id:#06x}{NVIDIA_VENDOR:04x}",
            "memory_total": self.memory_mib["total"] * MIB,
            "memory_reserved": self.memory_mib["reserved"] * MIB,
            "memory_used": 0,
            "bar1_total": self.memory_mib["bar1"] * MIB,
            "pcie_gen": self.pcie["gen"],
            "pcie_gen_max": self.pcie["gen"],
            "pcie_gen_device_max": self.pcie["device_gen"],
            "pcie_width": self.pcie["width"],
            "pcie_width_max": self.pcie["width"],
            "pcie_replays": 0,
            "power": power["draw"],
            "power_min": power["min"],
            "power_max": power["max"],
            "power_limit": power["max"],
            "power_default": power["max"],
            "power_management": 1,
            "clocks_event_reasons": CLOCKS_IDLE,
            "clocks_event_reasons_supported": CLOCKS_EVENT_REASONS,
            "pstate": 0,
            "utilization_gpu": 0,
            "utilization_memory": 0,
            "compute_mode": 0,
            "display_mode": 1,
            "display_active": 0,
            "multi_gpu_board": 0,
            "persistence": 0,
            "ecc": 1,
            "ecc_pending": 1,
            "ecc_corrected": 0,
            "ecc_corrected_ever": 0,
            "ecc_uncorrected": 0,
            "ecc_uncorrected_ever": 0,
            "recovery_action": 0,
            "inforom_checksum": 1,
            "has_gsp": int(architecture >= FIRST_WITH_GSP),
        }
        values.update({f"clock_{name}": clock for name, clock in self.clocks_mhz.items()})
        values.update(_temperatures(self.temperature_c))
        if self.mig:
            values.update(mig=0, mig_pending=0, mig_max=mig.SLICES)
        if self.nvswitches and architecture >= FIRST_WITH_FABRIC_STATE:
            values.update(fabric_state=FABRIC_IN_PROGRESS)
        if self.nvlinks:
            values.update(nvlinks=self.nvlinks, nvlinks_down=0)
        if self.remapper_banks is not None:
            values.update(_remapping(self.remapper_banks))
        else:
            values["retired_pages_pending"] = 0
        return values


def _temperatures(degrees: Mapping[str, int]) -> dict[str, int]:
    values = {f"temperature_{name}": value for name, value in degrees.items()}
    values["temperature"] = values.pop("temperature_gpu")
    return values


def _remapping(banks: int) -> dict[str, int]:
    counters = ("corrected", "uncorrected", "pending", "failed")
    return {"remapper_banks": banks, **{f"remapped_{counter}": 0 for counter in counters}}


@cache
def _all() -> Mapping[str, Model]:
    document = yaml.safe_load(Path(__file__).with_name("models.yml").read_text())
    return {key: Model(key=key, **fields) for key, fields in document.items()}


def names() -> tuple[str, ...]:
    """The keys of all models, the default first."""
    return (DEFAULT, *(key for key in _all() if key != DEFAULT))


def find(name: str) -> Model:
    """The model of a key (any case) or of a product name; UsageError for an unknown one."""
    for model in _all().values():
        if name.casefold() in (model.key.casefold(), model.name.casefold()):
            return model
    raise UsageError(
        f"The lab has no GPU model {name!r}.{did_you_mean(name.upper(), names())}",
        f"Choose one of: {', '.join(names())}.",
    )
