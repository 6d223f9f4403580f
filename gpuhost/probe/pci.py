"""Section ``pci``: NVIDIA's devices on the bus, whether or not a driver knows them."""

from __future__ import annotations

from typing import List

from gpuhost.probe.context import Context
from gpuhost.probe.schema import Pci, PciDevice

DEVICES = "/sys/bus/pci/devices"
NVIDIA = "0x10de"


def collect(context: Context) -> Pci:
    """Read the section."""
    root = context.root
    devices: List[PciDevice] = []
    for folder in root.list(DEVICES):
        vendor = root.read(f"{folder}/vendor")
        if vendor is None or vendor.lower() != NVIDIA:
            continue
        devices.append(
            {
                "address": folder.rsplit("/", 1)[-1],
                "vendor": vendor,
                "device": root.read(f"{folder}/device") or "",
                "class_code": root.read(f"{folder}/class") or "",
                "driver": root.link_name(f"{folder}/driver"),
            }
        )
    return {"devices": devices}
