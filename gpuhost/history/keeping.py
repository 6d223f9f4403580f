"""Keeping a run's report in the history, and making the history anew from kept reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from gpuhost.errors import GpuhostError
from gpuhost.history.records import Trends
from gpuhost.history.store import DATABASE, HistoryError, open_history
from gpuhost.model import RunReport
from gpuhost.report.json import read

REPORT = "report.json"
# A month of nights shows a drift, and a line of that many points can still be read.
TREND_RUNS = 30
# What SQLite keeps beside a database.
COMPANIONS = ("", "-wal", "-shm")


def remember(state_dir: Path, runs_dir: Path, report: RunReport) -> str:
    """Keep ``report`` in the history of the state folder; what there is to say about that.

    A verification is not lost with the history: whatever is wrong with it is
    told, and a damaged one is put aside and made anew.
    """
    try:
        with open_history(state_dir) as history:
            history.record(report)
    except HistoryError as error:
        if not error.damaged:
            return f"{error.message} This run is not in it. {error.remedy}"
        aside, count = rebuild(state_dir, runs_dir)
        return (
            f"The history was damaged: it is put aside as {aside}, and was made anew from "
            f"{count} kept reports."
        )
    except GpuhostError as error:
        return f"{error.message} This run is not in it. {error.remedy}"
    return ""


def recall(state_dir: Path, report: RunReport) -> Mapping[str, Trends]:
    """The figures of the report's hosts over the newest runs; none where the history is unusable.

    What is wrong with it was told when the run was to be kept in it.
    """
    names = [host.host for host in report.hosts if not host.skipped]
    try:
        with open_history(state_dir) as history:
            return {name: history.trends(name, TREND_RUNS) for name in names}
    except GpuhostError:
        return {}


def rebuild(state_dir: Path, runs_dir: Path) -> tuple[Path | None, int]:
    """Put the database aside and make it anew from the reports in the runs' folders.

    Returns where the old one is, None if there was none, and how many reports
    the new one holds.

    Raises:
        HistoryError: the new one cannot be written.
    """
    aside = _put_aside(state_dir / DATABASE)
    count = 0
    with open_history(state_dir) as history:
        for report in kept_reports(runs_dir):
            history.record(report)
            count += 1
    return aside, count


def kept_reports(runs_dir: Path) -> Iterator[RunReport]:
    """The reports in the runs' folders, oldest first; a file that is none is passed over."""
    for folder in sorted(path for path in runs_dir.glob("*") if not path.is_symlink()):
        try:
            yield read(json.loads((folder / REPORT).read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _put_aside(database: Path) -> Path | None:
    if not database.exists():
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = database.with_name(f"{database.name}.damaged-{stamp}")
    for companion in COMPANIONS:
        file = database.with_name(database.name + companion)
        if file.exists():
            file.rename(aside.with_name(aside.name + companion))
    return aside
