"""Layouts of divided GPUs, in the form of nvidia-mig-parted's configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gpuhost.parse.pci import bus_id
from gpuhost.probe.schema import NvmlGpu, PciDevice

_MARK = " MIG "

# How many MIG devices of which profile; None: the GPU is whole.
Division = Counter[str] | None


def expected(
    entries: Sequence[Mapping[str, Any]], gpus: Sequence[NvmlGpu], devices: Sequence[PciDevice]
) -> dict[int, Division]:
    """What a layout makes of each GPU that it speaks of, by index."""
    return {
        gpu["index"]: Counter(entry.get("mig-devices") or {}) if entry["mig-enabled"] else None
        for entry in entries
        for gpu in gpus
        if _concerns(entry, gpu, devices)
    }


def _concerns(entry: Mapping[str, Any], gpu: NvmlGpu, devices: Sequence[PciDevice]) -> bool:
    filters = entry.get("device-filter") or []
    wanted = {each.lower() for each in ([filters] if isinstance(filters, str) else filters)}
    if wanted and _device_id(gpu, devices) not in wanted:
        return False
    return entry["devices"] == "all" or gpu["index"] in entry["devices"]


def _device_id(gpu: NvmlGpu, devices: Sequence[PciDevice]) -> str:
    """Device and vendor id together, as the filters have it: 0x20b010de."""
    for device in devices:
        if gpu["bus_id"] and bus_id(gpu["bus_id"]) == bus_id(device["address"]):
            return f"0x{device['device'][2:]}{device['vendor'][2:]}".lower()
    return ""


def found(gpu: NvmlGpu) -> Division:
    """How a GPU is divided."""
    if not gpu["mig_current"]:
        return None
    names = [device["name"] or "" for device in gpu["mig_devices"]]
    return Counter(name.rpartition(_MARK)[2] or "unknown" for name in names)


def division(made: Division) -> str:
    """A division in words, ``whole`` where there is none."""
    if made is None:
        return "whole"
    return " + ".join(f"{times} × {profile}" for profile, times in sorted(made.items())) or (
        "divided, without MIG devices"
    )


def problems(layout: str, config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a declared layout, whatever the GPUs are."""
    if not layout:
        return []
    if layout not in config:
        return [f"is {layout}: nvidia_mig_config has {', '.join(sorted(config)) or 'no layout'}"]
    entries = config[layout]
    if not isinstance(entries, list) or not entries:
        return [f"is {layout}, which is no list of entries"]
    return [f"is {layout}: {words}" for entry in entries for words in _ill_formed(entry)]


def _ill_formed(entry: Any) -> list[str]:
    if not isinstance(entry, Mapping):
        return ["an entry of it is no dictionary"]
    devices, parts = entry.get("devices"), entry.get("mig-devices")
    whole = isinstance(devices, list) and all(isinstance(index, int) for index in devices)
    words = []
    if devices != "all" and not whole:
        words.append("an entry needs devices: all, or a list of indices")
    if not isinstance(entry.get("mig-enabled"), bool):
        words.append("an entry needs mig-enabled: true or false")
    if entry.get("mig-enabled") and not isinstance(parts, Mapping):
        words.append("an entry with mig-enabled needs mig-devices")
    if not entry.get("mig-enabled") and parts:
        words.append("an entry has mig-devices without mig-enabled")
    return words
