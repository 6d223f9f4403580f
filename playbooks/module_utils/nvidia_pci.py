"""Which driver branches and kernel modules drive which NVIDIA GPU.

The ranges of PCI device ids come from the PCI ID repository (pci.ids), by the
chip's name (GM…, GP…, GV…, TU…, GA…, AD…, GH…, GB…), and were compared with
the list in the open-gpu-kernel-modules README (all of which is Turing or newer)
and with NVIDIA's data-center driver documentation for the branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OPEN = "open"
PROPRIETARY = "proprietary"

FIRST_OPEN_BRANCH = 515
LAST_PROPRIETARY_BRANCH = 615


@dataclass(frozen=True)
class Generation:
    """What drives one generation of GPUs; ``None`` means no known limit."""

    name: str
    takes_open: bool = True
    takes_proprietary: bool = True
    first_branch: int | None = None
    last_branch: int | None = None

    def modules(self, branch: int) -> set[str]:
        """The flavours of kernel modules of ``branch`` that drive this generation."""
        if branch < (self.first_branch or branch) or branch > (self.last_branch or branch):
            return set()
        flavours: set[str] = set()
        if self.takes_open and branch >= FIRST_OPEN_BRANCH:
            flavours.add(OPEN)
        if self.takes_proprietary and branch <= LAST_PROPRIETARY_BRANCH:
            flavours.add(PROPRIETARY)
        return flavours

    @property
    def branches(self) -> str:
        """The branches in words: ``"470 or older"``, ``"570 or newer"``."""
        if self.last_branch:
            return f"{self.last_branch} or older"
        return f"{self.first_branch or FIRST_OPEN_BRANCH} or newer"


KEPLER = Generation("Kepler or older", takes_open=False, last_branch=470)
MAXWELL = Generation("Maxwell", takes_open=False, last_branch=580)
PASCAL = Generation("Pascal", takes_open=False, last_branch=580)
VOLTA = Generation("Volta", takes_open=False, last_branch=580)
TURING = Generation("Turing")
AMPERE = Generation("Ampere", first_branch=450)
ADA = Generation("Ada Lovelace")
HOPPER = Generation("Hopper", first_branch=525)
GRACE_HOPPER = Generation("Grace Hopper", takes_proprietary=False, first_branch=525)
BLACKWELL = Generation("Blackwell", takes_proprietary=False, first_branch=570)
NEWER = Generation("newer than Blackwell", takes_proprietary=False, first_branch=570)

_RANGES = (
    (0x0000, 0x133F, KEPLER),
    (0x1340, 0x147F, MAXWELL),
    (0x15F0, 0x15FF, PASCAL),
    (0x1600, 0x16FF, MAXWELL),
    (0x1720, 0x173F, PASCAL),
    (0x1740, 0x17FF, MAXWELL),
    (0x1B00, 0x1D7F, PASCAL),
    (0x1D80, 0x1DFF, VOLTA),
    (0x1E00, 0x1FFF, TURING),
    (0x2080, 0x20FF, AMPERE),
    (0x2180, 0x21FF, TURING),
    (0x2200, 0x22FF, AMPERE),
    (0x2300, 0x233F, HOPPER),
    (0x2340, 0x237F, GRACE_HOPPER),
    (0x2400, 0x25FF, AMPERE),
    (0x2680, 0x28FF, ADA),
    (0x2900, 0x31FF, BLACKWELL),
)


def generation(device: int) -> Generation:
    """The generation of a PCI device id such as ``0x20b5``; ids not listed yet are newer."""
    for first, last, found in _RANGES:
        if first <= device <= last:
            return found
    return NEWER


@dataclass(frozen=True)
class Gpu:
    """One GPU on the bus."""

    address: str
    device: int

    @property
    def generation(self) -> Generation:
        """What drives it."""
        return generation(self.device)

    def __str__(self) -> str:
        return f"{self.address} ({self.generation.name}, 10de:{self.device:04x})"


@dataclass(frozen=True)
class Problem:
    """Why GPUs and a driver do not go together, and what would."""

    found: str
    why: str
    remedy: str


def choose_modules(
    gpus: Sequence[Gpu], branch: int, wanted: str
) -> tuple[str | None, list[Problem]]:
    """The flavour of kernel modules for ``gpus``, and what stands against it.

    ``wanted`` is ``auto``, ``open`` or ``proprietary``. Returns the flavour
    (``None`` if there is none) and the problems.
    """
    problems = [
        Problem(
            f"there is a GPU at {gpu}",
            f"no driver of branch {branch} drives it",
            f"set nvidia_driver_branch to {gpu.generation.branches}",
        )
        for gpu in gpus
        if not gpu.generation.modules(branch)
    ]
    if problems:
        return None, problems
    common = {OPEN, PROPRIETARY}
    for gpu in gpus:
        common &= gpu.generation.modules(branch)
    if not common:
        problem = Problem(
            f"the GPUs are {_listed(gpus)}",
            f"no one kind of kernel modules of branch {branch} drives them all",
            "move the GPUs to different hosts or choose a branch that drives them all",
        )
        return None, [problem]
    if wanted == "auto":
        return (OPEN if OPEN in common else PROPRIETARY), []
    if wanted not in common:
        refusing = [gpu for gpu in gpus if wanted not in gpu.generation.modules(branch)]
        problem = Problem(
            f"nvidia_driver_modules is {wanted}",
            f"the {wanted} kernel modules of branch {branch} do not drive {_listed(refusing)}",
            f"set nvidia_driver_modules to auto or {common.pop()}",
        )
        return None, [problem]
    return wanted, []


def _listed(gpus: Sequence[Gpu]) -> str:
    return ", ".join(str(gpu) for gpu in gpus)
