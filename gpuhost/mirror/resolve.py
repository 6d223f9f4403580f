"""Which packages of a repository a host needs: those asked for, and what these need of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cmp_to_key

from gpuhost.errors import MirrorError
from gpuhost.mirror.indices import Index, Offered, Relation


def resolve(index: Index, wanted: Mapping[str, str]) -> list[Offered]:
    """The packages asked for (name → version or pattern, empty for the newest), and what they need.

    What the repository has nothing of is the distribution's. Raises MirrorError
    for a package, or a version of it, that the repository has not.
    """
    chosen: dict[str, Offered] = {}
    asked = [_newest(index, name, version) for name, version in wanted.items()]
    for package in asked:
        chosen[package.name] = package
    queue = list(asked)
    while queue:
        package = queue.pop()
        for alternatives in package.needs:
            found = _met_by(index, chosen, package, alternatives)
            if found and found.name not in chosen:
                chosen[found.name] = found
                queue.append(found)
    return list(chosen.values())


def _newest(index: Index, name: str, version: str) -> Offered:
    offered = _sorted(index, (package for package in index.packages if package.name == name))
    for package in offered:
        if not version or is_version(package.version, version):
            return package
    listed = ", ".join(dict.fromkeys(package.version for package in offered)) or "none"
    raise MirrorError(
        f"{index.url} has no {name} {version}".rstrip() + f". It has: {listed}.",
        "Ask for a version that it has.",
    )


def is_version(found: str, wanted: str) -> bool:
    """Whether a version is the one wanted: a pattern, or a version with or without a revision."""
    bare = re.sub(r"^\d+:", "", found)
    spellings = (found, bare, re.split(r"[-~]", bare)[0], bare.rpartition("-")[0])
    return any(fnmatchcase(spelling, wanted) for spelling in spellings)


def _met_by(
    index: Index,
    chosen: Mapping[str, Offered],
    package: Offered,
    alternatives: tuple[Relation, ...],
) -> Offered | None:
    """The package that meets a need: one that is chosen already, or the best that is offered."""
    for relation in alternatives:
        for there in chosen.values():
            if _meets(index, there, relation):
                return there
    for relation in alternatives:
        offered = list(_sorted(index, (p for p in index.packages if _meets(index, p, relation))))
        # Packages of one build have one version, and keep together.
        alike = [one for one in offered if one.version == package.version]
        named = [one for one in alike or offered if one.name == relation.name]
        if offered:
            return (named or alike or offered)[0]
    return None


def _meets(index: Index, package: Offered, relation: Relation) -> bool:
    if package.name == relation.name and _fits(index, package.version, relation):
        return True
    return any(
        provided.name == relation.name
        and (
            not relation.sign
            or (bool(provided.version) and _fits(index, provided.version, relation))
        )
        for provided in package.provides
    )


def _fits(index: Index, version: str, relation: Relation) -> bool:
    if not relation.sign:
        return True
    order = index.compare(version, relation.version)
    return {
        "=": order == 0,
        ">=": order >= 0,
        "<=": order <= 0,
        ">>": order > 0,
        "<<": order < 0,
        ">": order > 0,
        "<": order < 0,
    }[relation.sign]


def _sorted(index: Index, packages: Iterator[Offered]) -> list[Offered]:
    """Packages, newest first."""

    def order(one: Offered, other: Offered) -> int:
        return index.compare(one.version, other.version)

    return sorted(packages, key=cmp_to_key(order), reverse=True)
