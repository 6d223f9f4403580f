"""Definitions of workloads: those that gpuhost brings, and a site's own beside its inventory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean
from gpuhost.workloads.parameters import TYPES, Parameter
from gpuhost.workloads.probes import Measure, Probe, ProbeError, measure, probe, unique

LIBRARY = Path(__file__).parent / "library"
SITE_FOLDER = "workloads"
COMPOSE, ABOUT = "compose.yaml", "workload.yaml"
KEYS = frozenset(("description", "kind", "within", "gpus", "parameters", "probes", "measures"))
JOB, SERVICE = "job", "service"
WITHIN_S = {JOB: 3600, SERVICE: 120}
ALL = "all"


@dataclass(frozen=True)
class Definition:
    """A workload as it is defined.

    ``compose`` is the parsed template. ``kind``: a job ends by itself, a service runs until it is
    stopped; ``within`` is how long a verification waits for the one's end and the other's
    probes, in seconds, and ``gpus`` how many it gives it ("all" or a number).
    """

    name: str
    folder: Path
    description: str
    compose: Mapping[str, Any]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    kind: str = JOB
    within: float = WITHIN_S[JOB]
    gpus: int | str = 1
    probes: tuple[Probe, ...] = ()
    measures: tuple[Measure, ...] = ()


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
        **_proof(folder / ABOUT, about),
    )


def _proof(file: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What a definition says of how it is proven."""
    kind, gpus = about.get("kind", JOB), about.get("gpus", 1)
    if kind not in WITHIN_S:
        raise _wrong(file, f"kind is {' or '.join(WITHIN_S)}")
    within = about.get("within", WITHIN_S[kind])
    if not isinstance(within, int | float) or within <= 0:
        raise _wrong(file, "within is a number of seconds")
    if gpus != ALL and not (isinstance(gpus, int) and gpus >= 0):
        raise _wrong(file, f"gpus is a number or {ALL}")
    try:
        found = tuple(probe(one) for one in about.get("probes") or ())
        measures = tuple(measure(one) for one in about.get("measures") or ())
        unique([*found, *measures])
        _require_files(file.parent, found)
    except ProbeError as error:
        raise _wrong(file, str(error)) from None
    return {
        "kind": kind,
        "within": float(within),
        "gpus": gpus,
        "probes": found,
        "measures": measures,
    }


def _require_files(folder: Path, probes: Iterable[Probe]) -> None:
    for one in probes:
        name = one.asked.get("body_file", "") if one.how == "http" else ""
        if name and not (folder / name).is_file():
            raise ProbeError(f"the probe {one.name!r}: there is no {name}")


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
    if parameter.verify is not None:
        parameter.checked(parameter.verify)
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
