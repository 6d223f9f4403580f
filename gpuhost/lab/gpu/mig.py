"""Multi-instance GPUs: the ways in which a model can be divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SLICES = 7


class _Shape(NamedTuple):
    """What the GPU instances of a kind have; ``number`` is NVML's, ``id`` nvidia-smi's."""

    number: int
    id: int
    slices: int
    memory_slices: int
    starts: tuple[int, ...]
    most: int
    copy_engines: int
    suffix: str = ""


_SHAPES = (
    _Shape(0, 19, 1, 1, (0, 1, 2, 3, 4, 5, 6), 7, 1),
    _Shape(7, 20, 1, 1, (0, 1, 2, 3, 4, 5, 6), 1, 1, "+me"),
    _Shape(9, 15, 1, 2, (0, 2, 4, 6), 4, 1),
    _Shape(1, 14, 2, 2, (0, 2, 4), 3, 2),
    _Shape(2, 9, 3, 4, (0, 4), 2, 3),
    _Shape(3, 5, 4, 4, (0,), 1, 4),
    _Shape(4, 0, 7, 8, (0,), 1, 7),
)
_WHOLE = 8


def describe(declared: Mapping[str, Any], memory_mib: int) -> dict[str, Any]:
    """What the kernel player has to know to divide a GPU: models.yml's words, worked out.

    ``mode_outlasts_boots``: whether the GPU itself remembers that it is to be divided.
    """
    return {
        "mode_outlasts_boots": declared["mode_outlasts_boots"],
        "profiles": [_profile(shape, declared, memory_mib) for shape in _SHAPES],
    }


def _profile(shape: _Shape, declared: Mapping[str, Any], memory_mib: int) -> dict[str, Any]:
    sizes: Sequence[int] = declared["memory_gb"]
    size = sizes[shape.memory_slices.bit_length() - 1]
    return {
        "number": shape.number,
        "id": shape.id,
        "name": f"{shape.slices}g.{size}gb{shape.suffix}",
        "slices": shape.slices,
        "size": shape.memory_slices,
        "starts": list(shape.starts),
        "most": shape.most,
        "memory_mib": memory_mib * shape.memory_slices // _WHOLE,
        "multiprocessors": declared["multiprocessors"] * shape.slices,
        "copy_engines": shape.copy_engines,
        "decoders": shape.memory_slices // 2,
    }
