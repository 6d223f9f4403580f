"""Figures of a host that are worth following over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpuhost.probe.schema import Evidence

# Fields of a GPU in the section nvml.
OF_GPU = ("temperature_c",)
# Fields of a GPU in the section health.
OF_HEALTH = ("ecc_uncorrected_ever",)


def measures(evidence: Evidence) -> Mapping[str, float]:
    """Figures by name, the unit in the name; what was not read is left out."""
    return dict(_measures(evidence))


def _measures(evidence: Evidence) -> Iterator[tuple[str, float]]:
    yield "verify.duration_s", evidence["probe"]["duration_s"]
    for section, fields in (("nvml", OF_GPU), ("health", OF_HEALTH)):
        for gpu in _gpus(evidence, section):
            for field in fields:
                value = gpu.get(field)
                if isinstance(value, int | float):
                    yield f"gpu{gpu['index']}.{field}", float(value)


def _gpus(evidence: Evidence, name: str) -> Sequence[Mapping[str, Any]]:
    section = evidence["sections"].get(name)
    data = section["data"] if section else None
    return data["gpus"] if data else ()
