"""Which simulated GPUs a lab host has: what the kernel player inside it reads."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpuhost.errors import UsageError
from gpuhost.lab.gpu import mig, models

FILE = Path("etc/gpuhost-lab/gpus.json")
SCHEMA_VERSION = 1
MOST_GPUS = 16
VBIOS = "LAB.00.00.00.01"

_UUIDS = uuid.UUID("b6a3ff4e-8f43-4d2d-9d0e-0b3e6d3c7a10")
_FIRST_BUS, _BUS_STEP = 0x07, 0x0B
_FIRST_SWITCH_BUS = 0xC0


@dataclass(frozen=True)
class Gpu:
    """One GPU of a host: ``drivers`` and ``nvml`` as its model has them."""

    index: int
    uuid: str
    pci: str
    device_id: int
    subsystem_id: int
    drivers: Mapping[str, Any]
    nvml: Mapping[str, str | int]
    mig: Mapping[str, Any] | None


@dataclass(frozen=True)
class NvSwitch:
    """One NVSwitch of the board that the GPUs are on."""

    pci: str
    device_id: int


@dataclass(frozen=True)
class HostGpus:
    """All GPUs of one host, in the order of their PCI addresses."""

    host: str
    model: str
    gpus: tuple[Gpu, ...]
    nvswitches: tuple[NvSwitch, ...] = ()

    @property
    def uuids(self) -> tuple[str, ...]:
        """The GPUs' UUIDs by index; a host of the same name always has the same ones."""
        return tuple(gpu.uuid for gpu in self.gpus)


def plan(*, host: str, gpus: int, model: str) -> HostGpus:
    """The GPUs of a host; UsageError for a model or number that cannot be had."""
    found = models.find(model)
    if not 0 <= gpus <= MOST_GPUS:
        raise UsageError(
            f"A lab host can have 0 to {MOST_GPUS} GPUs, not {gpus}.", "Use --gpus with that range."
        )
    placed = tuple(_gpu(host, index, found) for index in range(gpus))
    return HostGpus(host, found.key, placed, _nvswitches(found) if gpus else ())


def _nvswitches(model: models.Model) -> tuple[NvSwitch, ...]:
    board = model.nvswitches or {"count": 0, "device_id": 0}
    addresses = (f"0000:{_FIRST_SWITCH_BUS + number:02x}:00.0" for number in range(board["count"]))
    return tuple(NvSwitch(address, board["device_id"]) for address in addresses)


def _gpu(host: str, index: int, model: models.Model) -> Gpu:
    bus = _FIRST_BUS + _BUS_STEP * index
    identity: dict[str, str | int] = {
        # Nobody is to take these for real hardware.
        "serial": f"LAB-{zlib.crc32(host.encode()):08X}-{index:02d}",
        "vbios": VBIOS,
        "board_part": "LAB-00000-0000-000",
        "pci": f"00000000:{bus:02X}:00.0",
        "board_id": bus << 8,
        "module_id": index + 1,
    }
    return Gpu(
        index=index,
        uuid=f"GPU-{uuid.uuid5(_UUIDS, f'{host}/{index}')}",
        pci=f"0000:{bus:02x}:00.0",
        device_id=model.device_id,
        subsystem_id=model.subsystem_id,
        drivers=model.drivers,
        nvml={**identity, **model.nvml()},
        mig=mig.describe(model.mig, model.memory_mib["total"]) if model.mig else None,
    )


def write(root: Path, gpus: HostGpus) -> None:
    """Write a host's GPUs into its root file system, for its next boot."""
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"schema": SCHEMA_VERSION, **asdict(gpus)}, indent=2) + "\n")
