"""Definitions of workloads: those that gpuhost brings, and a site's own beside its inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean
from gpuhost.workloads.parameters import TYPES, Parameter

LIBRARY = Path(__file__).parent / "library"
SITE_FOLDER = "workloads"
COMPOSE, ABOUT = "compose.yaml", "workload.yaml"
KEYS = frozenset(("description", "parameters", "expect"))


@dataclass(frozen=True)
class Definition:
    """A workload as it is defined.

    ``compose`` is the parsed template. ``expect`` are regular expressions, each of
    which has to match a line of the log of work that ended well.
    """

    name: str
    folder: Path
    description: str
    compose: Mapping[str, Any]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    expect: tuple[str, ...] = ()


def folders(project: Path) -> dict[str, Path]:
    """The folder of each workload by name; a site's own wins over gpuhost's of the same name."""
    found: dict[str, Path] = {}
    for base in (LIBRARY, project / SITE_FOLDER):
        for about in sorted(base.glob(f"*/{ABOUT}")):
            found[about.parent.name] = about.parent
    return found


def find(project: Path, name: str) -> Definition:
    """One workload by name.

    Raises:
        UsageError: there is none of that name, or its definition is wrong.
    """
    known = folders(project)
    if name not in known:
        raise UsageError(
            f"There is no workload {name!r}.{did_you_mean(name, known)}",
            "List them with: gpuhost workload list",
        )
    return load(known[name])


def load(folder: Path) -> Definition:
    """Read one definition.

    Raises:
        UsageError: a file is missing, is no YAML, or says what is not understood.
    """
    about, compose = _read(folder / ABOUT), _read(folder / COMPOSE)
    unknown = sorted(about.keys() - KEYS)
    if unknown:
        raise _wrong(folder / ABOUT, f"{unknown[0]!r} is none of {', '.join(sorted(KEYS))}")
    if not isinstance(compose.get("services"), dict) or not compose["services"]:
        raise _wrong(folder / COMPOSE, "it has no services")
    parameters = {
        name: _parameter(folder / ABOUT, name, declared)
        for name, declared in (about.get("parameters") or {}).items()
    }
    for parameter in parameters.values():
        if parameter.contains and parameter.contains not in parameters:
            why = f"{parameter.contains}, which {parameter.name} contains, is no parameter"
            raise _wrong(folder / ABOUT, why)
    return Definition(
        name=folder.name,
        folder=folder,
        description=" ".join(str(about.get("description", "")).split()),
        compose=compose,
        parameters=parameters,
        expect=tuple(about.get("expect") or ()),
    )


def _parameter(file: Path, name: str, declared: Any) -> Parameter:
    if not isinstance(declared, dict) or declared.get("type", "str") not in TYPES:
        raise _wrong(file, f"the parameter {name} needs a type, one of {', '.join(TYPES)}")
    try:
        parameter = Parameter(
            name=name,
            **{**declared, "choices": tuple(declared.get("choices", ()))},
        )
    except TypeError as error:
        raise _wrong(file, f"the parameter {name}: {error}") from None
    parameter.checked(parameter.default)
    return parameter


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _wrong(path, " ".join(str(error).split())) from None
    if not isinstance(found, dict):
        raise _wrong(path, "it is not a mapping")
    return found


def _wrong(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} cannot be used: {why}.", "Correct the definition.")
