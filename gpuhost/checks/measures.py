"""Figures of a host that are worth following over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpuhost.probe.schema import Evidence

# Fields of a GPU in the section nvml.
OF_GPU = ("temperature_c",)


def measures(evidence: Evidence) -> Mapping[str, float]:
    """Figures by name, the unit in the name; what was not read is left out."""
    return dict(_measures(evidence))


def _measures(evidence: Evidence) -> Iterator[tuple[str, float]]:
    yield "verify.duration_s", evidence["probe"]["duration_s"]
    section = evidence["sections"].get("nvml")
    data = section["data"] if section else None
    for gpu in data["gpus"] if data else ():
        for field in OF_GPU:
            value = gpu.get(field)
            if isinstance(value, int | float):
                yield f"gpu{gpu['index']}.{field}", float(value)
