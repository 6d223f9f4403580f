"""Which workloads are proven at the same time: those that share no GPU and no port. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What a workload takes for itself: a number of GPUs, ports of the host, or all of it."""

    name: str
    gpus: int
    ports: frozenset[int] = frozenset()
    alone: bool = False


@dataclass(frozen=True)
class Place:
    """A workload with the GPUs that it gets."""

    name: str
    gpus: tuple[str, ...]


def waves(needs: Iterable[Need], free: Sequence[str]) -> tuple[tuple[Place, ...], ...]:
    """Who is proven with whom, one wave after the other; ``free`` are the GPUs there are.

    Every need has to fit by itself. Each goes into the first wave that has room for it.
    """
    found: list[_Wave] = []
    for need in needs:
        if need.gpus > len(free):
            raise ValueError(f"{need.name} needs {need.gpus} GPUs of {len(free)}")
        wave = next((wave for wave in found if wave.has_room(need)), None)
        if wave is None:
            wave = _Wave(list(free))
            found.append(wave)
        wave.take(need)
    return tuple(tuple(wave.places) for wave in found)


class _Wave:
    def __init__(self, free: list[str]) -> None:
        self._free = free
        self._ports: set[int] = set()
        self._is_closed = False
        self.places: list[Place] = []

    def has_room(self, need: Need) -> bool:
        if self._is_closed or need.alone:
            return not self.places
        return need.gpus <= len(self._free) and self._ports.isdisjoint(need.ports)

    def take(self, need: Need) -> None:
        self.places.append(Place(need.name, tuple(self._free[: need.gpus])))
        self._free = self._free[need.gpus :]
        self._ports |= need.ports
        self._is_closed = need.alone
