"""Figures of a host that are worth following over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gpuhost.parse.benchmark import parse_benchmark
from gpuhost.parse.errors import ParseError
from gpuhost.probe.schema import Evidence

# Fields of a GPU in the section nvml.
OF_GPU = ("temperature_c",)
# Fields of a GPU in the section health.
OF_HEALTH = ("ecc_uncorrected_ever",)
# Fields of a GPU that the benchmark measured.
OF_BENCHMARK = ("images_per_s", "tflops")


def measures(evidence: Evidence) -> Mapping[str, float]:
    """Figures by name, the unit in the name; what was not read is left out."""
    return dict(_measures(evidence))


def _measures(evidence: Evidence) -> Iterator[tuple[str, float]]:
    yield "verify.duration_s", evidence["probe"]["duration_s"]
    for gpus, fields in (
        (_gpus(evidence, "nvml"), OF_GPU),
        (_gpus(evidence, "health"), OF_HEALTH),
        (_benchmarked(evidence), OF_BENCHMARK),
    ):
        for gpu in gpus:
            for field in fields:
                value = gpu.get(field)
                if isinstance(value, int | float):
                    yield f"gpu{gpu['index']}.{field}", float(value)


def _gpus(evidence: Evidence, name: str) -> Sequence[Mapping[str, Any]]:
    data = _data(evidence, name)
    return data["gpus"] if data else ()


def _benchmarked(evidence: Evidence) -> Sequence[Mapping[str, Any]]:
    """The GPUs that were measured; nothing where only a CPU was."""
    data = _data(evidence, "throughput")
    try:
        benchmark = parse_benchmark(data["stdout"] if data else "")
    except ParseError:
        return ()
    return [asdict(device) for device in benchmark.devices] if benchmark.available else ()


def _data(evidence: Evidence, name: str) -> Any:
    section = evidence["sections"].get(name)
    return section["data"] if section else None
