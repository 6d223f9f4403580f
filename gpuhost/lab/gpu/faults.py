"""Faults of GPUs and their driver, to be injected into a running lab host.

Each is injected and cleared by commands inside the host, so whatever runs a
command there (:func:`gpuhost.lab.execute`) is all that is needed. Clearing
is harmless where nothing was injected, or the host rebooted since: a reboot
ends :class:`GpuLost`, :class:`ErrOutput` and :class:`DriverMismatch`, as it
does on metal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

KERNEL = "/usr/lib/gpuhost-lab/kernel"

# Return codes of NVML.
GPU_IS_LOST = 15
UNKNOWN_ERROR = 999

Execute = Callable[[str, Sequence[str]], object]
"""Runs a command as root in the host of a name; raises where the command fails."""


class Fault(Protocol):
    """Something that can go wrong with a host."""

    def inject(self, execute: Execute, host: str) -> None:
        """Let it go wrong."""

    def clear(self, execute: Execute, host: str) -> None:
        """Have the host as it was before."""


@dataclass(frozen=True)
class GpuMissing:
    """A GPU is gone from the PCI bus, for good: no device, no node, not in NVML.

    ``gpu`` is its index in the whole host.
    """

    gpu: int

    def inject(self, execute: Execute, host: str) -> None:
        """Take the GPU off the bus."""
        execute(host, [KERNEL, "pull", str(self.gpu)])

    def clear(self, execute: Execute, host: str) -> None:
        """Put it back."""
        execute(host, [KERNEL, "plug", str(self.gpu)])


@dataclass(frozen=True)
class GpuLost:
    """A GPU fell off the bus under the driver: "GPU is lost", and nvidia-smi ends with 15.

    ``gpu`` is its index in the whole host.
    """

    gpu: int

    def inject(self, execute: Execute, host: str) -> None:
        """Lose the GPU."""
        execute(host, [KERNEL, "report", str(self.gpu), f"handle=!{GPU_IS_LOST}"])

    def clear(self, execute: Execute, host: str) -> None:
        """Find it again."""
        execute(host, [KERNEL, "report", str(self.gpu), "handle="])


@dataclass(frozen=True)
class ErrOutput:
    """A GPU's fan and power cannot be read: nvidia-smi shows ERR! and ends with 0 all the same.

    ``gpu`` is its index in the whole host.
    """

    gpu: int

    def inject(self, execute: Execute, host: str) -> None:
        """Break the sensors."""
        answers = (f"fan=!{UNKNOWN_ERROR}", f"power=!{UNKNOWN_ERROR}")
        execute(host, [KERNEL, "report", str(self.gpu), *answers])

    def clear(self, execute: Execute, host: str) -> None:
        """Mend them."""
        execute(host, [KERNEL, "report", str(self.gpu), "fan=", "power="])


@dataclass(frozen=True)
class DriverMismatch:
    """Another version of the kernel module is loaded than the one on disk and the libraries.

    That is how an upgrade without a reboot leaves a host.
    """

    version: str = "525.147.05"

    def inject(self, execute: Execute, host: str) -> None:
        """Have that version loaded."""
        execute(host, [KERNEL, "loaded", self.version])

    def clear(self, execute: Execute, host: str) -> None:
        """Have the version on disk loaded."""
        execute(host, [KERNEL, "loaded"])


@dataclass(frozen=True)
class LibraryMismatch:
    """libnvidia-ml is of another version than the kernel module, on disk as well as loaded."""

    version: str = "999.99.99"

    def inject(self, execute: Execute, host: str) -> None:
        """Install that version beside the one that belongs there, and have clients use it."""
        execute(host, [KERNEL, "library", self.version])

    def clear(self, execute: Execute, host: str) -> None:
        """Remove it."""
        execute(host, [KERNEL, "library"])


@contextmanager
def injected(execute: Execute, host: str, fault: Fault) -> Iterator[None]:
    """A fault for as long as the block runs."""
    fault.inject(execute, host)
    try:
        yield
    finally:
        fault.clear(execute, host)
