"""What the benchmark inside the framework image prints (:mod:`gpuhost.probe.benchmark`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gpuhost.parse.errors import ParseError

WHAT = "the benchmark's output"


@dataclass(frozen=True)
class Device:
    """One device: ``error`` has its process's last words where it did not come to its end."""

    index: int
    name: str | None = None
    exact: bool | None = None
    tflops: float | None = None
    images_per_s: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Benchmark:
    """``torch`` None: the image has no PyTorch (``error`` says it in Python's words).

    ``cuda`` None: PyTorch was built without CUDA, and its one device is the
    CPU. ``available``: PyTorch can compute on GPUs here.
    """

    torch: str | None
    cuda: str | None
    available: bool
    devices: tuple[Device, ...]
    error: str = ""


def parse_benchmark(stdout: str) -> Benchmark:
    """The last line of the output; frameworks may print before it.

    Raises:
        ParseError: it is not what the benchmark prints.
    """
    lines = stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
        return Benchmark(
            torch=found["torch"],
            cuda=found["cuda"],
            available=bool(found["available"]),
            devices=tuple(_device(one) for one in found["devices"]),
            error=str(found.get("error") or ""),
        )
    except IndexError:
        raise ParseError(WHAT, "nothing was printed") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParseError(WHAT, f"{type(error).__name__} {error}", lines[-1]) from None


def _device(found: dict[str, Any]) -> Device:
    return Device(
        index=int(found["index"]),
        name=found.get("name"),
        exact=found.get("exact"),
        tflops=_number(found.get("tflops")),
        images_per_s=_number(found.get("images_per_s")),
        error=str(found.get("error") or ""),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
