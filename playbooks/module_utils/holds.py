"""Packages that are held at their versions, with dpkg and with dnf."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

Names = Sequence[str]


def matching(packages: Iterable[str], names: Names, excluding: Names) -> list[str]:
    """Those of ``packages`` that match a name and no exclusion."""
    return [
        package
        for package in packages
        if _matches_any(package, names) and not _matches_any(package, excluding)
    ]


def _matches_any(package: str, patterns: Names) -> bool:
    # dpkg adds the architecture to some names: libcuda1:amd64.
    name = package.partition(":")[0]
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Dpkg:
    """Holds as dpkg's selections. ``installed`` are the packages there are."""

    def __init__(self, module: Any) -> None:
        self._run = module.run_command
        fields = "${db:Status-Want} ${db:Status-Status} ${binary:Package}\n"
        _, listed, _ = self._run(["dpkg-query", "-W", "-f", fields], check_rc=True)
        rows = [line.split() for line in listed.splitlines()]
        self._held = {name: want == "hold" for want, status, name in rows if status == "installed"}
        self.installed = list(self._held)

    def is_held(self, package: str) -> bool:
        """Whether ``package`` is held."""
        return self._held[package]

    def hold(self, packages: Names) -> None:
        """Hold ``packages``."""
        self._select(packages, "hold")

    def release(self, packages: Names) -> None:
        """Let go of ``packages``."""
        self._select(packages, "install")

    def _select(self, packages: Names, selection: str) -> None:
        lines = "".join(f"{package} {selection}\n" for package in packages)
        self._run(["dpkg", "--set-selections"], data=lines, binary_data=True, check_rc=True)


class Dnf:
    """Holds as entries of dnf's version lock; ``installed`` as for :class:`Dpkg`."""

    def __init__(self, module: Any) -> None:
        self._run = module.run_command
        _, listed, _ = self._run(["rpm", "-qa", "--qf", "%{NAME} %{VERSION}\n"], check_rc=True)
        self._versions = dict(line.split() for line in listed.splitlines())
        self.installed = list(self._versions)
        _, locks, _ = self._run(["dnf", "-q", "versionlock", "list"], check_rc=True)
        self._locks = locks.splitlines()

    def is_held(self, package: str) -> bool:
        """Whether an entry locks ``package`` at its installed version."""
        return self._has_entry(package, re.escape(self._versions[package]))

    def _has_entry(self, package: str, version: str) -> bool:
        entry = re.compile(rf"^{re.escape(package)}-(\d+:)?{version}(-[^-]+)?$")
        return any(entry.match(lock) for lock in self._locks)

    def hold(self, packages: Names) -> None:
        """Lock ``packages`` at their installed versions, and at no other any more."""
        stale = [package for package in packages if self._has_entry(package, "[^-]+")]
        if stale:
            self.release(stale)
        locks = [f"{package}-{self._versions[package]}" for package in packages]
        self._run(["dnf", "-q", "versionlock", "add", *locks], check_rc=True)

    def release(self, packages: Names) -> None:
        """Delete the locks of ``packages``."""
        self._run(["dnf", "-q", "versionlock", "delete", *packages], check_rc=True)


def manager(module: Any) -> Dpkg | Dnf:
    """The holds of this host's package manager."""
    return Dpkg(module) if shutil.which("dpkg-query") else Dnf(module)
