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
    """The host's GPUs and the fault, if any, with which they are handed out.

    A divided GPU is given to whoever names it, as upstream does: without a MIG device it is of
    no use. Nothing else hands it out whole.
    """

    gpus: tuple[Gpu, ...]
    fault: str = ""

    def select(self, ids: Sequence[str]) -> tuple[Gpu, ...]:
        """The GPUs that ``ids`` (indices, UUIDs, "all", "none") mean, in the order asked for.

        Raises:
            UnknownDeviceError: one of them means nothing here.
        """
        if NONE in ids:
            return self.whole if self.fault == faults.IGNORE_NONE else ()
        if ALL in ids:
            return self.whole
        selected: list[Gpu] = []
        for name in ids:
            selected += [gpu for gpu in self._named(name) if gpu not in selected]
        return self._misdirected(selected)

    @property
    def whole(self) -> tuple[Gpu, ...]:
        """What can be worked on: MIG devices, and GPUs that are not divided."""
        return tuple(gpu for gpu in self.gpus if not gpu.is_divided)

    def _named(self, name: str) -> tuple[Gpu, ...]:
        for gpu in self.gpus:
            if name == gpu.ordinal or name.lower() == gpu.uuid.lower():
                return (gpu,)
        if self.fault == faults.ALL_FOR_BAD_INDEX:
            return self.whole
        raise UnknownDeviceError(name)

    def _misdirected(self, selected: list[Gpu]) -> tuple[Gpu, ...]:
        whole = self.whole
        if self.fault == faults.SWAP:
            return tuple(
                whole[whole.index(gpu) + 1 - len(whole)] if gpu in whole else gpu
                for gpu in selected
            )
        if self.fault == faults.LEAK_ONE and selected:
            selected = selected + [gpu for gpu in whole if gpu not in selected][:1]
        return tuple(selected)
