"""What has to be done for a host to be again as it was before gpuhost. No I/O.

It follows from the ledger (:mod:`ledger_store`) and what there is now, so that a removal that was
cut short can be begun anew at any point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Versions = Mapping[str, str]


def touched(history: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str | None, str | None]]:
    """Each package that runs changed: its version before the first one, and after the last."""
    found: dict[str, tuple[str | None, str | None]] = {}
    for entry in history:
        for name, (old, new) in entry["packages"].items():
            found[name] = (found[name][0] if name in found else old, new)
    return found


def to_purge(history: Sequence[Mapping[str, Any]], installed: Versions) -> list[str]:
    """The packages that are there only because of gpuhost."""
    return [
        n for n, (before, _) in sorted(touched(history).items()) if not before and n in installed
    ]


def to_put_back(history: Sequence[Mapping[str, Any]], installed: Versions) -> dict[str, str]:
    """The versions that packages had before; of those that nobody else has changed since."""
    return {
        name: before
        for name, (before, after) in sorted(touched(history).items())
        if before and installed.get(name) != before and installed.get(name) == after
    }


def obtainable(
    wanted: Versions, installed: Versions, offered: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], list[str]]:
    """What to install of ``wanted``, and in words what cannot be had as it was.

    ``offered`` has the versions by package, the preferred one first. A package that is missing
    is put back in whatever version there is; one in another version is better left than lost.
    """
    chosen, words = {}, []
    for name, version in wanted.items():
        versions = offered.get(plain(name), ())
        if version in versions:
            chosen[name] = version
        elif name in installed:
            words.append(f"{name} stays at {installed[name]}: {version} is not offered any more")
        elif versions:
            chosen[name] = versions[0]
            words.append(f"{name} is back in version {versions[0]}: {version} is not offered")
        else:
            words.append(f"{name} {version} could not be put back: no repository offers it")
    return chosen, words


def plain(name: str) -> str:
    """A package's name without its architecture."""
    return name.partition(":")[0]


def without(
    current: Mapping[str, Any], declared: Mapping[str, Any], original: Mapping[str, Any]
) -> dict[str, Any]:
    """``current`` with what was merged into it taken out again, at every depth.

    Where a value is still the one that was declared, the ``original`` one comes back, or the key
    goes. Whatever else somebody wrote stays.
    """
    kept = dict(current)
    for key, value in declared.items():
        if key not in kept:
            continue
        now, before = kept[key], original.get(key)
        if isinstance(value, dict) and isinstance(now, dict):
            kept[key] = without(now, value, before if isinstance(before, dict) else {})
            is_ours = not kept[key] and not isinstance(before, dict)
        else:
            is_ours = now == value
        if is_ours and key in original:
            kept[key] = before
        elif is_ours:
            del kept[key]
    return kept
