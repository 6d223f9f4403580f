"""The register of checks: every file of an area puts its own in, nothing else has to be told."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding
from gpuhost.errors import UsageError
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
Judgement = Callable[[Facts], Finding]


@dataclass(frozen=True)
class CheckInfo:
    """What a check is called, what it looks at and why; ``needs`` are sections of the evidence."""

    name: str
    title: str
    area: str
    why: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A check with the function that makes its judgement."""

    info: CheckInfo
    judge: Judgement


_REGISTER: dict[str, Check] = {}


def check(name: str, title: str, *, needs: Sequence[str]) -> Callable[[Judgement], Judgement]:
    """Register the decorated function as the check ``name`` (``area.what``).

    Its docstring says why the check is made; ``needs`` are the sections it
    reads: if one of them is missing, the verdict is UNKNOWN and the function
    is not called.
    """
    area = name.partition(".")[0]
    if name in _REGISTER:
        raise ValueError(f"there are two checks named {name}")
    if area not in AREAS:
        raise ValueError(f"{name}: there is no area {area!r}")

    def register(function: Judgement) -> Judgement:
        info = CheckInfo(name, title, area, inspect.getdoc(function) or "", tuple(needs))
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


def select(names: Collection[str]) -> tuple[Check, ...]:
    """The checks of these names; all where none is named.

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
    return tuple(found for name, found in known.items() if not names or name in names)
