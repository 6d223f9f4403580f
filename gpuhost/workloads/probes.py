"""What a workload is asked and what of it is measured, as workload.yaml has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOWS = ("http", "exec", "log", "file")
# What each has to say, and what it may.
FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "http": (
        frozenset(("port",)),
        frozenset(("path", "method", "headers", "body", "body_file", "status", "json", "text")),
    ),
    "exec": (frozenset(("service", "command")), frozenset(("output", "timeout"))),
    "file": (frozenset(("path",)), frozenset(("minimum_bytes",))),
}
BETTER = ("higher", "lower")
# Fields that are regular expressions.
PATTERNS = frozenset(("output", "text"))


class ProbeError(ValueError):
    """A probe or a measure that is not understood; the text says why."""


@dataclass(frozen=True)
class Probe:
    """One question: ``how`` is http, exec, log or file, ``asked`` what workload.yaml says of it."""

    name: str
    how: str
    asked: Any

    @property
    def slug(self) -> str:
        """Its name as part of a check's name."""
        return slug(self.name)


@dataclass(frozen=True)
class Measure:
    """A figure in the log: the pattern's one group. ``tolerance`` is a share of what is usual."""

    name: str
    log: str
    unit: str = ""
    better: str = "higher"
    tolerance: float = 0.1

    @property
    def slug(self) -> str:
        """Its name as part of a check's name."""
        return slug(self.name)


def slug(name: str) -> str:
    """A name of small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def probe(document: Any) -> Probe:
    """A probe as workload.yaml has it.

    Raises:
        ProbeError: it is not understood.
    """
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise ProbeError("each probe is a mapping with a name")
    name = document["name"]
    hows = [key for key in document if key != "name"]
    if len(hows) != 1 or hows[0] not in HOWS or not slug(name):
        raise ProbeError(f"the probe {name!r} needs exactly one of {', '.join(HOWS)}")
    how, asked = hows[0], document[hows[0]]
    if how == "log":
        _pattern(name, asked)
        return Probe(name, how, asked)
    least, more = FIELDS[how]
    if not isinstance(asked, dict) or not least <= asked.keys() <= least | more:
        words = ", ".join(sorted(least)), ", ".join(sorted(more))
        raise ProbeError(f"the probe {name!r}: {how} takes {words[0]}, and may have {words[1]}")
    for key in PATTERNS:
        _pattern(name, asked.get(key, ""))
    return Probe(name, how, asked)


def measure(document: Any) -> Measure:
    """A measure as workload.yaml has it.

    Raises:
        ProbeError: it is not understood.
    """
    try:
        found = Measure(**document)
    except TypeError as error:
        raise ProbeError(f"a measure: {error}") from None
    if _pattern(found.name, found.log).groups != 1:
        raise ProbeError(f"the measure {found.name!r} needs a pattern with one group")
    if found.better not in BETTER:
        raise ProbeError(f"the measure {found.name!r}: better is {' or '.join(BETTER)}")
    return found


def unique(named: Iterable[Probe | Measure]) -> None:
    """Require that no two have one name.

    Raises:
        ProbeError: two have.
    """
    seen: set[str] = {STARTS}
    for one in named:
        if one.slug in seen:
            raise ProbeError(f"the name {one.name!r} is there twice, or reserved")
        seen.add(one.slug)


# What is always proven, undeclared.
STARTS = "starts"


def _pattern(name: str, text: Any) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, TypeError) as error:
        raise ProbeError(f"the pattern of {name!r} cannot be used: {error}") from None
