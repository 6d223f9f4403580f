"""The GPUs of a lab host, and what is remembered of them and of the loaded modules."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HARDWARE = Path("/etc/gpuhost-lab/gpus.json")
DEFECTS = Path("/etc/gpuhost-lab/defects.json")
MIG_MODES = Path("/etc/gpuhost-lab/mig-modes.json")  # what the GPUs themselves remember
RUN = Path("/run/gpuhost-lab")
STATE = RUN / "kernel.json"

OPEN_LICENSE = "Dual MIT/GPL"


class KernelError(Exception):
    """What the kernel, or a tool in its name, answers instead of doing what was asked."""


def is_ours(module: str) -> bool:
    """Whether a module is one that this program plays."""
    return module.replace("-", "_").startswith(("nvidia", "nouveau"))


@dataclass
class Gpu:
    """One entry of gpus.json: where it is, which drivers drive it, what it tells NVML."""

    index: int
    uuid: str
    pci: str
    device_id: int
    subsystem_id: int
    drivers: dict[str, Any]
    nvml: dict[str, Any]
    mig: dict[str, Any] | None = None

    def takes(self, module: Module) -> bool:
        """Whether a version and flavour of the kernel module drives this GPU."""
        branch = int(module.version.partition(".")[0])
        flavour = "open" if module.license == OPEN_LICENSE else "proprietary"
        last = self.drivers["last"]
        in_range = self.drivers["first"] <= branch and (last is None or branch <= last)
        return in_range and flavour in self.drivers["modules"]


@dataclass
class Switch:
    """An NVSwitch."""

    pci: str
    device_id: int


@dataclass
class Module:
    """A loaded kernel module."""

    version: str = ""
    license: str = ""
    depends: list[str] = field(default_factory=list)


@dataclass
class State:
    """What lasts until the next boot."""

    modules: dict[str, Module] = field(default_factory=dict)
    minors: dict[str, int] = field(default_factory=dict)  # GPU's UUID → minor number
    reports: dict[str, dict[str, str]] = field(default_factory=dict)  # UUID → NVML key → text
    persistence: dict[str, str] = field(default_factory=dict)  # UUID → 0 or 1
    mig: dict[str, Any] = field(default_factory=dict)  # UUID → how the GPU is divided
    fabric: bool = False  # whether a fabric manager has set the NVSwitches up


@dataclass
class Defects:
    """What outlasts a boot: GPUs off the bus, and a library that does not belong here."""

    pulled: list[int] = field(default_factory=list)
    library: str = ""
    library_link: str = ""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def write_json(path: Path, document: object) -> None:
    """Write a JSON document in one step."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=2) + "\n")
    new.replace(path)


def read_state() -> State:
    """The state, empty right after boot."""
    document = read_json(STATE)
    modules = {name: Module(**module) for name, module in document.pop("modules", {}).items()}
    return State(modules=modules, **document)


def present_gpus() -> list[Gpu]:
    """The GPUs on the bus, in the order of their addresses."""
    pulled = Defects(**read_json(DEFECTS)).pulled
    gpus = [Gpu(**entry) for entry in read_json(HARDWARE).get("gpus", [])]
    return sorted((gpu for gpu in gpus if gpu.index not in pulled), key=lambda gpu: gpu.pci)


def present_switches() -> list[Switch]:
    """The NVSwitches on the bus."""
    return [Switch(**entry) for entry in read_json(HARDWARE).get("nvswitches", [])]


def driven_gpus(state: State) -> list[Gpu]:
    """The GPUs that the loaded nvidia module drives; none where it is not loaded."""
    module = state.modules.get("nvidia")
    return [gpu for gpu in present_gpus() if gpu.takes(module)] if module else []
