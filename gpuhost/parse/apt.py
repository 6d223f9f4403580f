"""What package managers say of the versions they would choose from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

NONE = "(none)"
_VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) ")


@dataclass(frozen=True)
class Policy:
    """The versions of one package that can be had, newest first, and the one to be chosen."""

    candidate: str = ""
    versions: tuple[str, ...] = ()

    def best(self, pattern: str) -> str:
        """The version that would be installed for a pin; empty where none can be told."""
        if not pattern or fnmatchcase(self.candidate, pattern):
            return self.candidate
        return next((each for each in self.versions if fnmatchcase(each, pattern)), "")


def parse_policy(text: str) -> dict[str, Policy]:
    """Every package in an output of ``apt-cache policy NAME…``.

    The version table also has what is installed and can be had nowhere.
    """
    found: dict[str, Policy] = {}
    for block in re.split(r"(?m)^(?=\S)", text):
        name, _, rest = block.partition(":\n")
        candidate = re.search(r"^  Candidate: (\S+)$", rest, re.MULTILINE)
        if not candidate:
            continue
        versions = [m[1] for m in map(_VERSION.match, rest.splitlines()) if m]
        chosen = "" if candidate[1] == NONE else candidate[1]
        found[name] = Policy(chosen, tuple(dict.fromkeys(versions)))
    return found


def parse_repoquery(text: str) -> dict[str, Policy]:
    """Every package in lines of name and version, as dnf lists them, oldest first."""
    versions: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, version = line.strip().partition(" ")
        if version:
            versions.setdefault(name, []).insert(0, version)
    return {name: Policy(each[0], tuple(each)) for name, each in versions.items()}


def parse_candidates(program: str, text: str) -> Mapping[str, Policy]:
    """What ``program`` answered when it was asked for candidates."""
    return parse_policy(text) if program == "apt-cache" else parse_repoquery(text)
