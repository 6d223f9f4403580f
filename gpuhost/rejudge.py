"""``gpuhost verify --from``: evidence that was kept, judged again by the checks of today.

No host is asked, and nothing is kept: the run that the evidence is of stays
as it was. What a host was declared to be is read from where the run kept it,
beside the evidence; without that, nothing is held against the host.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from gpuhost import __version__, runs
from gpuhost.checks.registry import select
from gpuhost.errors import UsageError
from gpuhost.model import Desired, HostReport, RunReport, Suite
from gpuhost.probe.schema import SCHEMA_VERSION, Evidence
from gpuhost.suggest import did_you_mean
from gpuhost.verify import is_complete, judge_host

COMMAND = "verify --from"


@dataclass(frozen=True)
class Saved:
    """Kept evidence of one host, and where it is."""

    host: str
    path: Path
    evidence: Evidence
    desired: Desired


def judge_again(
    places: Sequence[str],
    runs_dir: Path,
    *,
    hosts: Collection[str] = (),
    names: Collection[str] = (),
    suite: Suite = Suite.STANDARD,
) -> RunReport:
    """Judge the evidence at ``places``: runs by id, by its beginning or ``latest``, or files.

    ``hosts`` limits it to those; ``names`` and ``suite`` choose the checks.

    Raises:
        UsageError: there is no such run, file or host, or a file holds no
            evidence that this gpuhost reads.
    """
    found = [saved for place in places for saved in _saved(place, runs_dir)]
    known = [saved.host for saved in found]
    for host in hosts:
        if host not in known:
            raise UsageError(
                f"There is no evidence of {host} in {', '.join(places)}."
                + did_you_mean(host, known),
                f"There is of: {', '.join(known)}.",
            )
    checks = [check.info.name for check in select(names, suite)]
    now = runs.now()
    return RunReport(
        run_id=f"{runs.stamp(now)}-again",
        command=COMMAND,
        started=now,
        finished=runs.now(),
        gpuhost_version=__version__,
        hosts=tuple(_judged(saved, checks) for saved in found if not hosts or saved.host in hosts),
        complete=is_complete(names, suite),
    )


def _judged(saved: Saved, checks: Collection[str]) -> HostReport:
    try:
        return judge_host(saved.host, saved.evidence, saved.desired, checks)
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_evidence(saved.path, f"{type(error).__name__}: {error}") from error


def _saved(place: str, runs_dir: Path) -> Iterator[Saved]:
    path = Path(place)
    if path.is_file():
        yield _read(path)
        return
    folder = _run_folder(place, runs_dir)
    files = sorted((folder / "evidence").glob("*.json"))
    if not files:
        raise UsageError(f"The run {folder.name} kept no evidence.", "No host of it was reached.")
    yield from map(_read, files)


def _run_folder(place: str, runs_dir: Path) -> Path:
    if place and "/" not in place:
        matches = [path for path in sorted(runs_dir.glob(f"{place}*")) if path.is_dir()]
        exact = [path for path in matches if path.name == place]
        if len(exact or matches) == 1:
            return (exact or matches)[0].resolve()
    raise UsageError(
        f"There is no file and no one run {place!r}.",
        f"List the runs with: gpuhost history. They are kept in {runs_dir}.",
    )


def _read(path: Path) -> Saved:
    try:
        document: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _no_evidence(path, str(error)) from error
    if not isinstance(document, dict) or "sections" not in document:
        raise _no_evidence(path, "it is no evidence of a host")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise _no_evidence(path, f"it is of schema {version}, this gpuhost reads {SCHEMA_VERSION}")
    desired = _desired(path.parent.parent / "desired" / path.name)
    return Saved(path.stem, path, cast("Evidence", document), desired)


def _desired(path: Path) -> Desired:
    """What was kept; fields of an earlier or later gpuhost are left out."""
    if not path.is_file():
        return Desired()
    try:
        document = json.loads(path.read_text())
        return Desired(
            **{
                each.name: _value(document[each.name])
                for each in fields(Desired)
                if each.name in document
            }
        )
    except (OSError, ValueError, TypeError) as error:
        raise _no_evidence(path, str(error)) from error


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _no_evidence(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be judged: {why}.",
        "Give a file of a run's evidence folder, or a run's id; see: gpuhost history",
    )
