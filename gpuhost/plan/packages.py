"""What provisioning would do about packages, keys and files: the same for every role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from gpuhost.components import Component
from gpuhost.declared import Declared
from gpuhost.plan.host import Host
from gpuhost.plan.model import Change
from gpuhost.probe.masking import without_passwords

NOT_OFFERED = "no repository had it when its lists were last read"
# Where files are that say what repositories there are; others say what to choose of them.
SOURCES = ("/etc/apt/sources.list.d/", "/etc/yum.repos.d/")
WILDCARD = re.compile(r"[*?\[]")


def key(component: Component, host: Host) -> Iterator[Change]:
    """The repository's signing key."""
    wanted = host.declared(component.role).key
    if wanted is None:
        return
    found = host.keys.get(wanted.path)
    if found is None:
        yield Change(component.label, "add", wanted.path)
    elif found["problem"]:
        yield Change(component.label, "replace", wanted.path, note=found["problem"])
    elif found["fingerprints"] != [wanted.fingerprint]:
        before = " and ".join(found["fingerprints"])
        yield Change(component.label, "replace", wanted.path, before, wanted.fingerprint)


def files(component: Component, host: Host) -> Iterator[Change]:
    """The files that are written, and those that are removed."""
    declared = host.declared(component.role)
    useless = host.state["replaced_sources"]
    for path, content in declared.files.items():
        diff = host.diff(path, content)
        if path not in host.files:
            yield Change(component.label, "write", path, diff=diff)
        elif path in useless:
            yield Change(component.label, "rewrite", path, note="its key is of no use", diff=diff)
        elif not host.has_file(path, content):
            note = "it is not as it was written"
            yield Change(component.label, "rewrite", path, note=note, diff=diff)
    for path in declared.absent:
        if path in host.files:
            yield Change(component.label, "remove", path)


def conflicting(component: Component, host: Host) -> Iterator[Change]:
    """The packages that have to go."""
    for name in host.declared(component.role).conflicting:
        if name in host.packages:
            version = host.packages[name]["version"]
            yield Change(component.label, "remove", name, version, note="it conflicts")


def packages(component: Component, host: Host) -> Iterator[Change]:
    """The packages that are installed, or get another version."""
    declared = host.declared(component.role)
    for name in declared.first:
        if name not in host.packages:
            yield Change(component.label, "install", name)
    candidates = host.candidates if _repository_is_known(component, host) else {}
    for name, pattern in to_install(declared, host).items():
        found = host.packages.get(name)
        action, before = ("change", found["version"]) if found else ("install", "")
        best = candidates[name].best(pattern) if name in candidates else ""
        after = best or _origin(name, pattern, component, host)
        note = NOT_OFFERED if name in candidates and not best else ""
        yield Change(component.label, action, name, before, after, note)


def to_install(declared: Declared, host: Host) -> dict[str, str]:
    """Those of the declared packages that are not there at the wanted version."""
    return {
        name: pattern
        for name, pattern in declared.packages.items()
        if name not in host.packages
        or (pattern and not fnmatchcase(host.packages[name]["version"], pattern))
    }


def _origin(name: str, pattern: str, component: Component, host: Host) -> str:
    """Where a version that is not known yet would come from."""
    declared = host.declared(component.role)
    if name not in component.packages or (pattern and not WILDCARD.search(pattern)):
        return pattern
    newest = f"newest {pattern}" if pattern else "newest"
    repository = without_passwords(declared.repository)
    return f"{newest} in {repository}" if repository else newest


def _repository_is_known(component: Component, host: Host) -> bool:
    """Whether the package manager may have read the declared repository already."""
    changing = [change.subject for change in files(component, host)]
    return not [*key(component, host)] and not any(path.startswith(SOURCES) for path in changing)


def holds(component: Component, host: Host) -> Iterator[Change]:
    """The packages that are held at their versions, or let go to be changed."""
    declared = host.declared(component.role)
    coming = to_install(declared, host)
    changing = bool(component.reboots and not host.declarations.driver_is_wanted)
    installed = _matching(declared, [*host.packages])
    if changing:
        for name in installed:
            if host.packages[name]["held"]:
                yield Change(component.label, "release", name, note="to be changed")
    for name in dict.fromkeys([*installed, *_matching(declared, [*coming])]):
        # A package that is changed does not stay held.
        if changing or name in coming or not host.packages[name]["held"]:
            yield Change(component.label, "hold", name)


def _matching(declared: Declared, names: Sequence[str]) -> list[str]:
    return [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in declared.held)
        and not any(fnmatchcase(name, pattern) for pattern in declared.not_held)
    ]
