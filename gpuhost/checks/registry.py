"""The register of checks: every file of an area puts its own in, nothing else has to be told."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding
from gpuhost.errors import UsageError
from gpuhost.model import Suite
from gpuhost.suggest import did_you_mean

# In the order in which a host is built up: what fails first explains the rest.
AREAS = (
    "host",
    "gpu",
    "driver",
    "smi",
    "health",
    "speed",
    "upkeep",
    "docker",
    "toolkit",
    "cdi",
    "users",
    "container",
    "partition",
)
SUITES = tuple(Suite)
# What must be there for a check of an area to say anything: the check ``<component>.present``
# tells whether it is. The first that is missing speaks for the rest.
_ON_THE_HOST = ("gpu", "driver")
AREA_WANTS: Mapping[str, tuple[str, ...]] = {
    "gpu": _ON_THE_HOST,
    "driver": _ON_THE_HOST,
    "smi": _ON_THE_HOST,
    "health": _ON_THE_HOST,
    "speed": _ON_THE_HOST,
    "docker": ("docker",),
    "toolkit": ("toolkit",),
    "cdi": (*_ON_THE_HOST, "toolkit", "docker"),
    "users": ("docker",),
    "container": (*_ON_THE_HOST, "docker", "toolkit"),
    "partition": (*_ON_THE_HOST, "docker", "toolkit"),
}
PRESENT = "present"
# What the sections of the evidence hold, for people.
SECTION_WORDS = {
    "system": "the operating system, its kernel, boot and disks",
    "pci": "NVIDIA's devices on the PCI bus",
    "driver": "the kernel module, its files, device nodes and packages",
    "nvml": "the GPUs as the driver's library shows them",
    "nvidia_smi": "what nvidia-smi prints on the host",
    "docker": "the daemon's answers, daemon.json, units and packages",
    "toolkit": "NVIDIA's container toolkit and the CDI specifications",
    "users": "the docker group and the declared users",
    "health": "memory errors, links, clocks, temperatures and power of the GPUs",
    "kernel_log": "the driver's messages in the kernel's log",
    "upkeep": "the clock, pending upgrades and the kernel of the next boot",
    "provisioning": "what the roles have left on the host, for the plan",
    "preflight": "what the roles decide by, and the keys of repositories",
    "containers": "containers that are started on sets of GPUs, and what each one sees",
    "throughput": "a synthetic training on all GPUs inside the framework image, for half a minute",
}
Judgement = Callable[[Facts], Finding]


@dataclass(frozen=True)
class CheckInfo:
    """What a check is called, what it looks at, why, and what to do where it does not pass.

    ``needs`` are sections of the evidence, ``wants`` components of the host,
    ``trials`` groups of container trials, ``suite`` is the smallest that has it.
    """

    name: str
    title: str
    area: str
    why: str
    needs: tuple[str, ...]
    mend: str = ""
    suite: Suite = Suite.QUICK
    trials: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A check with the function that makes its judgement."""

    info: CheckInfo
    judge: Judgement


_REGISTER: dict[str, Check] = {}


def check(
    name: str,
    title: str,
    *,
    needs: Sequence[str],
    suite: Suite = Suite.QUICK,
    trials: Sequence[str] = (),
    wants: Sequence[str] | None = None,
) -> Callable[[Judgement], Judgement]:
    """Register the decorated function as the check ``name`` (``area.what``).

    The first paragraph of its docstring says why the check is made, what
    follows says what to do where it does not pass. ``needs`` are the sections
    it reads: if one of them is missing, the verdict is UNKNOWN and the
    function is not called. ``trials`` are the groups of container trials that
    it judges; a run that did not ask for one of them skips the check.
    ``wants`` are the components without which there is nothing to judge, those
    of the area unless given: where the host has none, the check is skipped.
    """
    area, _, what = name.partition(".")
    if name in _REGISTER:
        raise ValueError(f"there are two checks named {name}")
    if area not in AREAS:
        raise ValueError(f"{name}: there is no area {area!r}")

    if wants is None:
        wants = () if what == PRESENT else AREA_WANTS.get(area, ())

    def register(function: Judgement) -> Judgement:
        why, _, mend = (inspect.getdoc(function) or "").partition("\n\n")
        info = CheckInfo(
            name,
            title,
            area,
            " ".join(why.split()),
            tuple(needs),
            " ".join(mend.split()),
            suite,
            tuple(trials),
            tuple(wants),
        )
        _REGISTER[name] = Check(info, function)
        return function

    return register


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check, by area in the order of ``AREAS``, then as its file has them."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"gpuhost.checks.{module.name}")
    return tuple(sorted(_REGISTER.values(), key=lambda c: AREAS.index(c.info.area)))


def catalog() -> tuple[CheckInfo, ...]:
    """What every check is, in report order."""
    return tuple(found.info for found in all_checks())


def presence() -> Mapping[str, Check]:
    """The checks that tell whether a component is there at all, by component."""
    suffix = f".{PRESENT}"
    return {c.info.area: c for c in all_checks() if c.info.name.endswith(suffix)}


def select(names: Collection[str], suite: Suite = Suite.FULL) -> tuple[Check, ...]:
    """The checks of these names; those of the suite where none is named.

    Raises:
        UsageError: a name that no check has.
    """
    known = {found.info.name: found for found in all_checks()}
    for name in names:
        if name not in known:
            raise UsageError(
                f"There is no check {name!r}.{did_you_mean(name, known)}",
                "List them with: gpuhost checks list",
            )
    if names:
        return tuple(found for name, found in known.items() if name in names)
    wanted = SUITES[: SUITES.index(suite) + 1]
    return tuple(found for found in known.values() if found.info.suite in wanted)


def requirements(checks: Collection[Check]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sections of the evidence and the groups of trials that these checks judge."""
    sections = dict.fromkeys(name for each in checks for name in each.info.needs)
    trials = dict.fromkeys(name for each in checks for name in each.info.trials)
    return tuple(sections), tuple(trials)
