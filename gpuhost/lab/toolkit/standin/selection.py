"""Which GPUs a request means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import fault as faults
from .nvml import Gpu

ALL = "all"
NONE = "none"


class UnknownDeviceError(Exception):
    """A request for a device that is not on the host; the text is the id."""


class Selection(NamedTuple):
    """The host's GPUs and the fault, if any, with which they are handed out."""

    gpus: tuple[Gpu, ...]
    fault: str = ""

    def select(self, ids: Sequence[str]) -> tuple[Gpu, ...]:
        """The GPUs that ``ids`` (indices, UUIDs, "all", "none") mean, in the order asked for.

        Raises:
            UnknownDeviceError: one of them means nothing here.
        """
        if NONE in ids:
            return self.gpus if self.fault == faults.IGNORE_NONE else ()
        if ALL in ids:
            return self.gpus
        selected: list[Gpu] = []
        for name in ids:
            selected += [gpu for gpu in self._named(name) if gpu not in selected]
        return self._misdirected(selected)

    def _named(self, name: str) -> tuple[Gpu, ...]:
        for gpu in self.gpus:
            if name == str(gpu.ordinal) or name.lower() == gpu.uuid.lower():
                return (gpu,)
        if self.fault == faults.ALL_FOR_BAD_INDEX:
            return self.gpus
        raise UnknownDeviceError(name)

    def _misdirected(self, selected: list[Gpu]) -> tuple[Gpu, ...]:
        if self.fault == faults.SWAP:
            return tuple(self.gpus[self.gpus.index(gpu) + 1 - len(self.gpus)] for gpu in selected)
        if self.fault == faults.LEAK_ONE and selected:
            selected = selected + [gpu for gpu in self.gpus if gpu not in selected][:1]
        return tuple(selected)
