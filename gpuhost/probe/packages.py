"""Installed packages and whether they are held, on Debian's and Red Hat's families."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Dict, List, Sequence

from gpuhost.probe.context import Context
from gpuhost.probe.root import Root
from gpuhost.probe.run import which
from gpuhost.probe.schema import Command, Package

DPKG_FORMAT = "${Package}\t${Version}\t${db:Status-Want}\t${db:Status-Status}\n"
RPM_FORMAT = "%{NAME}\t%|EPOCH?{%{EPOCH}}:{0}|\t%{VERSION}-%{RELEASE}\n"
VERSIONLOCK_LISTS = (
    "/etc/dnf/plugins/versionlock.list",
    "/etc/yum/pluginconf.d/versionlock.list",
)
VERSIONLOCK_TOML = "/etc/dnf/versionlock.toml"


class PackageError(Exception):
    """The package manager did not answer."""


def installed(context: Context, patterns: Sequence[str]) -> List[Package]:
    """The installed packages whose names match, sorted; raises PackageError.

    Versions are as the package manager's own pins spell them: with the epoch
    on Debian, without it on Red Hat.
    """
    if which("dpkg-query"):
        answer = context.run(["dpkg-query", "-W", "-f", DPKG_FORMAT, *patterns])
        # Exit status 1 means that a pattern matched nothing, which is an answer.
        return dpkg_packages(_checked(answer, 1)["stdout"])
    if which("rpm"):
        answer = context.run(["rpm", "-qa", "--qf", RPM_FORMAT, *patterns])
        return rpm_packages(_checked(answer, 0)["stdout"], version_locks(context.root))
    raise PackageError("neither dpkg-query nor rpm is there")


def _checked(answer: Command, worst_rc: int) -> Command:
    if answer["rc"] is None or answer["rc"] > worst_rc:
        words = answer["error"] or answer["stderr"].strip() or "it did not end in time"
        raise PackageError(f"{answer['argv'][0]}: {words}")
    return answer


def dpkg_packages(text: str) -> List[Package]:
    """The packages in an output of :data:`DPKG_FORMAT`, each name once."""
    found: Dict[str, Package] = {}
    for line in text.splitlines():
        name, version, want, status = line.split("\t")
        if status == "installed":
            found[name] = {"name": name, "version": version, "held": want == "hold"}
    return [found[name] for name in sorted(found)]


def rpm_packages(text: str, locks: Sequence[str]) -> List[Package]:
    """The packages in an output of :data:`RPM_FORMAT`; ``locks`` are name patterns."""
    found: Dict[str, Package] = {}
    for line in text.splitlines():
        name, epoch, version = line.split("\t")
        spellings = (name, f"{name}-{version}", f"{name}-{epoch}:{version}")
        held = any(fnmatchcase(s, lock) for s in spellings for lock in locks)
        found[name] = {"name": name, "version": version, "held": held}
    return [found[name] for name in sorted(found)]


def version_locks(root: Root) -> List[str]:
    """The patterns that dnf's versionlock holds, in either of its two formats."""
    locks = []
    for path in VERSIONLOCK_LISTS:
        for line in (root.read(path) or "").splitlines():
            entry = line.strip()
            if entry and entry[0] not in "#!":
                # "name-0:1.2-3.el9.*": the last part is the architecture.
                locks.append(entry[:-2] if entry.endswith(".*") else entry)
    locks += re.findall(r'^\s*name\s*=\s*"([^"]+)"', root.read(VERSIONLOCK_TOML) or "", re.M)
    return locks
