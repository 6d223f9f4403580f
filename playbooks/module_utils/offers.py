"""Which versions of packages the repositories have, and what is asked for that none has."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

# A repository may have a hundred; those that came last are what somebody would choose.
SHOWN = 8
NOTHING_DONE = "The repositories are configured, but nothing was installed:"
DNF = ("dnf", "--quiet", "--assumeyes", "--disableplugin=versionlock", "repoquery", "--available")


def versions(module: Any, names: Iterable[str]) -> dict[str, list[str]]:
    """The versions that repositories have of each package, the newest first."""
    read = _versions_of_apt if shutil.which("apt-cache") else _versions_of_dnf
    return {name: read(module, name) for name in names}


def _versions_of_apt(module: Any, name: str) -> list[str]:
    _, out, _ = module.run_command(["apt-cache", "madison", name])
    return [line.split("|")[1].strip() for line in out.splitlines() if "|" in line]


def _versions_of_dnf(module: Any, name: str) -> list[str]:
    _, out, _ = module.run_command([*DNF, "--qf", "%{evr}\n", name])
    return list(reversed(out.split()))


def missing(asked: Mapping[str, str], offered: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Those of ``asked`` (name → pattern, empty: any) that no repository of apt's has."""
    return {
        name: pattern
        for name, pattern in asked.items()
        if not any(fnmatchcase(version, pattern or "*") for version in offered[name])
    }


def missing_for_dnf(module: Any, asked: Mapping[str, str]) -> dict[str, str]:
    """Those of ``asked`` (name → version as dnf takes it) that no repository has."""
    specs = [f"{name}-{version}" for name, version in asked.items()]
    _, out, _ = module.run_command([*DNF, "--qf", "%{name}\n", *specs], check_rc=True)
    found = out.split()
    return {name: version for name, version in asked.items() if name not in found}


def words(
    lacking: Mapping[str, str], offered: Mapping[str, Sequence[str]], variables: Sequence[str]
) -> list[str]:
    """What is missing of a role's packages, and by which ``variables`` what there is is chosen."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, pattern in lacking.items():
        alike.setdefault((pattern, tuple(offered[name])), []).append(name)
    said = []
    for (pattern, there), names in alike.items():
        shown = ", ".join([*there[:SHOWN], *(["…"] if len(there) > SHOWN else [])])
        but = f", but {shown}" if shown else ""
        said.append(f"{', '.join(names)}: no repository has {pattern or 'it'}{but}")
    if any(there for _, there in alike):
        choose = "choose" if len(variables) > 1 else "chooses"
        said.append(f"{' and '.join(variables)} {choose} among them.")
    return said
