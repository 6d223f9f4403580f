"""Stamps: what each component's role left on a host when it last came to its end.

A stamp has a hash of the role's files and one of the variables that it took,
so that the next run can tell whether the role would do the same again. It is
written by ``provision.yml`` after everything that was chosen came to its end,
and taken away before any of it begins. Of secrets it has a salted scrypt.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gpuhost import ansible_env
from gpuhost.components import COMPONENTS, Component
from gpuhost.inventory import Host, declared
from gpuhost.plan.model import NEVER_RAN
from gpuhost.probe.provisioning import FOLDERS, READ_AT_START
from gpuhost.probe.schema import ConfigFile, Evidence
from gpuhost.specs import Variable

STAMP_VERSION = 1
# Folders of modules: whatever role uses them, a change there is one of the role's.
SHARED = ("library", "module_utils")
UNREAD = ("README.md",)
SCRYPT = {"n": 1 << 14, "r": 8, "p": 1}
SALT_BYTES = 16
WATCHED = [*FOLDERS, *READ_AT_START]


def make(host: Host, roles: Collection[str]) -> dict[str, dict[str, Any]]:
    """The stamps that ``roles`` are to leave on ``host``."""
    values, _ = declared().resolve(host.variables)
    salt = secrets.token_hex(SALT_BYTES)
    return {c.role: _stamp(c, values, salt) for c in COMPONENTS if c.role in roles}


def stale(host: Host, evidence: Evidence) -> dict[str, str]:
    """The components whose role has to run again on account of its stamp: role → why."""
    section: Mapping[str, Any] = evidence["sections"].get("provisioning") or {}
    data = section.get("data") or {}
    found: Mapping[str, str] = data.get("stamps") or {}
    values, _ = declared().resolve(host.variables)
    files = data.get("files") or []
    reasons = {c.role: _staleness(c, values, found.get(c.role), files) for c in COMPONENTS}
    return {role: reason for role, reason in reasons.items() if reason}


def _staleness(
    component: Component,
    values: Mapping[str, Any],
    text: str | None,
    files: Sequence[ConfigFile],
) -> str:
    if text is None:
        return NEVER_RAN
    found = _parsed(text)
    wanted = _stamp(component, values, str(found.get("salt", "")))
    if found.get("version") != STAMP_VERSION:
        return "the stamp is not one that this gpuhost reads"
    if found.get("role") != wanted["role"]:
        return "the role is not the one that ran last"
    same = all(
        hmac.compare_digest(str(found.get(key)), str(wanted[key]))
        for key in ("variables", "secrets")
    )
    if not same:
        return "variables changed since the last run"
    edited = _edited(component, found.get("files") or {}, files)
    return f"{', '.join(edited)} changed since the last run" if edited else ""


def _edited(
    component: Component, noted: Mapping[str, str], files: Sequence[ConfigFile]
) -> list[str]:
    """The files that the role's own files name and that are not as the role left them."""
    now = {file["path"]: f"{file['mode']} {file['sha256']}" for file in files}
    named = role_words(ansible_env.playbooks_dir() / "roles" / component.role)
    return [
        path
        for path in sorted({*now, *noted})
        if now.get(path) != noted.get(path) and path in named
    ]


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(component: Component, values: Mapping[str, Any], salt: str) -> dict[str, Any]:
    taken = {v.name: (v, values[v.name]) for v in variables(component)}
    plain = {name: value for name, (variable, value) in taken.items() if not variable.no_log}
    hidden = {name: value for name, (variable, value) in taken.items() if variable.no_log and value}
    return {
        "version": STAMP_VERSION,
        "role": role_hash(component),
        "variables": hashlib.sha256(_canonical(plain)).hexdigest(),
        "salt": salt,
        "secrets": _scrypt(hidden, salt) if hidden else "",
    }


def variables(component: Component) -> Iterator[Variable]:
    """The variables that a component's role takes, and those of the roles it builds on."""
    roles = (component.role, *component.after)
    return (v for v in declared().variables.values() if v.role in roles)


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, default=str).encode()


def _scrypt(values: Mapping[str, Any], salt: str) -> str:
    return hashlib.scrypt(_canonical(values), salt=salt.encode(), **SCRYPT).hex()


@cache
def role_words(role: Path) -> str:
    """Everything that is written in a role's files."""
    return "\n".join(path.read_text() for path in sorted(role.rglob("*")) if path.is_file())


def role_hash(component: Component) -> str:
    """A hash of the files of a component's role, and of what it builds on."""
    folders = [f"roles/{role}" for role in (component.role, *component.after)]
    return folder_hash(ansible_env.playbooks_dir(), (*folders, *SHARED))


@cache
def folder_hash(base: Path, folders: tuple[str, ...]) -> str:
    """A hash of the names and contents of all files in ``folders`` of ``base``."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in (base / folder).rglob("*")):
        if path.is_file() and path.name not in UNREAD and path.suffix != ".pyc":
            data = path.read_bytes()
            digest.update(f"{path.relative_to(base)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()
