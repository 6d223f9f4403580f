"""Which versions of packages a host's repositories offer, as apt and dnf tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpuhost.probe.schema import Command

_VERSION = re.compile(r" (?:\*\*\*|   ) (?P<version>\S+) -?\d+")
# What is only installed has no other source than this.
_INSTALLED = "/var/lib/dpkg/status"


def offered(asked: Command | None) -> Mapping[str, tuple[str, ...]]:
    """The versions of each package that can be installed, in the order they are listed.

    ``asked`` is ``apt-cache policy`` or ``dnf repoquery`` as the probe ran it; where it could
    not, nothing is known to be offered.
    """
    if asked is None:
        return {}
    pairs = _apt(asked["stdout"]) if asked["argv"][0] == "apt-cache" else _dnf(asked["stdout"])
    found: dict[str, list[str]] = {}
    for name, version in pairs:
        found.setdefault(name, []).append(version)
    return {name: tuple(dict.fromkeys(versions)) for name, versions in found.items()}


def _apt(text: str) -> Iterator[tuple[str, str]]:
    name = version = ""
    for line in text.splitlines():
        match = _VERSION.match(line)
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        elif match:
            version = match["version"]
        elif line.startswith(" " * 8) and _INSTALLED not in line:
            yield name, version


def _dnf(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, version = line.partition(" ")
        if version:
            yield name, version.strip()
