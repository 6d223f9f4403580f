"""Records of lab hosts that exist on paper only."""

from __future__ import annotations

from gpuhost.lab import host
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord


def make_record(
    where: LabSettings, name: str = "lab-01", number: int = 11, release: str = "debian12"
) -> HostRecord:
    """The record of a host that was never made; ``number`` is the last part of its address."""
    address = str(where.subnet[number])
    return host.describe(where, name, address, release=release, gpus=4, model="A100")
