"""The folder of a run: its report and the evidence behind it, kept for later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from gpuhost.errors import StateError
from gpuhost.history.records import Trends
from gpuhost.model import Desired, RunReport
from gpuhost.report import WRITERS
from gpuhost.ui import PlainUi, Ui
from gpuhost.ui.both import Both

SECRET = ("registry_logins",)
REPORT_FILES = {"json": "report.json", "junit": "junit.xml"}
PAGE = "report.html"
LOG = "log.txt"


@dataclass(frozen=True)
class Run:
    """One run of a command: its identity, when it began and its folder."""

    run_id: str
    started: str
    folder: Path

    def evidence_path(self, host: str) -> Path:
        """Where the evidence of ``host`` is kept."""
        return self.folder / "evidence" / f"{host}.json"

    def desired_path(self, host: str) -> Path:
        """Where it is kept what ``host`` was declared to be."""
        return self.folder / "desired" / f"{host}.json"


def now() -> str:
    """The time as reports give it: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def stamp(moment: str) -> str:
    """How the id of a run that began at ``moment`` (as :func:`now` writes it) begins."""
    return moment.replace("-", "").replace(":", "").replace("+0000", "Z")


def begin(runs_dir: Path) -> Run:
    """A new run; its folder is made when something is kept.

    Raises:
        StateError: nothing can be kept there, which is better known before a host is touched.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(
            f"Runs cannot be kept in {runs_dir}: {error.strerror}.",
            "Make that folder writable, or set GPUHOST_STATE_DIR to another one.",
        ) from error
    started = now()
    run_id = f"{stamp(started)}-{uuid4().hex[:6]}"
    return Run(run_id, started, runs_dir / run_id)


@contextmanager
def logged(run: Run, ui: Ui) -> Iterator[Ui]:
    """The same view, with what it is told also kept in the run's folder, as plain lines."""
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (run.folder / LOG).open("w", encoding="utf-8") as stream:
        yield Both(ui, PlainUi(stream))


def keep_evidence(run: Run, evidence: Mapping[str, Any]) -> None:
    """Keep each host's Evidence; readable by its owner only, for it describes the host."""
    for host, document in evidence.items():
        _keep(run.evidence_path(host), document)


def kept_evidence(run: Run, host: str) -> Any:
    """The Evidence of a host as it was kept."""
    return json.loads(run.evidence_path(host).read_text())


def keep_desired(run: Run, desired: Mapping[str, Desired]) -> None:
    """Keep what each host was declared to be, so that its evidence can be judged again.

    What a host logs in to registries with is left out: no check reads it.
    """
    for host, declared in desired.items():
        document = asdict(declared)
        for name in SECRET:
            del document[name]
        _keep(run.desired_path(host), document)


def _keep(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(json.dumps(document, indent=1) + "\n")


def keep_report(run: Run, report: RunReport) -> RunReport:
    """Write the report for programs; returns it with the evidence's places filled in."""
    placed = replace(
        report,
        hosts=tuple(
            replace(host, evidence_path=str(path)) if path.exists() else host
            for host in report.hosts
            for path in [run.evidence_path(host.host)]
        ),
    )
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, filename in REPORT_FILES.items():
        with (run.folder / filename).open("w", encoding="utf-8") as stream:
            WRITERS[name](placed, stream)
    _point_latest_at(run.folder)
    return placed


def keep_page(run: Run, report: RunReport, trends: Mapping[str, Trends]) -> None:
    """Write the report for people, with each host's figures over time."""
    from gpuhost.report import html  # noqa: PLC0415  (Jinja costs 50 ms)

    with (run.folder / PAGE).open("w", encoding="utf-8") as stream:
        html.write(report, stream, trends)


def _point_latest_at(folder: Path) -> None:
    fresh = folder.parent / f".latest-{folder.name}"
    fresh.symlink_to(folder.name)
    fresh.replace(folder.parent / "latest")
