"""``gpuhost nightly run``: verify all, compare, tell of what changed, keep, rotate."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gpuhost import notify, quarantine, runs, tracking
from gpuhost.errors import ExitCode, GpuhostError, worst
from gpuhost.files import replace_text
from gpuhost.history import History, open_history
from gpuhost.history.compare import Kind, Onset, Transition, onset, transitions
from gpuhost.history.records import Examination
from gpuhost.history.standing import Standing, standing
from gpuhost.model import RunReport
from gpuhost.report import prometheus
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import verify
from gpuhost.workload_suite import declared_works

COMMAND = "nightly"
LOCK = "nightly.lock"
# A night is missed when the last run is older than this.
A_NIGHT = timedelta(hours=36)


class AlreadyRunningError(GpuhostError):
    """Another nightly run is still at work."""


@dataclass(frozen=True)
class Night:
    """One nightly run: its report, and what became of each host since the last one.

    ``onsets`` says for what is bad since when it is so; ``troubles`` are what
    went wrong with the run itself, in words.
    """

    report: RunReport
    transitions: Mapping[str, Sequence[Transition]] = field(default_factory=dict)
    onsets: Mapping[tuple[str, str], Onset] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    previous: str = ""
    troubles: tuple[str, ...] = ()

    @property
    def news(self) -> tuple[Transition, ...]:
        """What is worth a message: what became so in this run."""
        return tuple(
            transition
            for host in self.transitions.values()
            for transition in host
            if transition.starts and transition.kind is not Kind.UNJUDGED
        )

    @property
    def missed(self) -> timedelta | None:
        """How long ago the run before was, if nights were missed since."""
        if not self.previous:
            return None
        gap = datetime.fromisoformat(self.report.started) - datetime.fromisoformat(self.previous)
        return gap if gap > A_NIGHT else None

    @property
    def exit_code(self) -> ExitCode:
        """The report's; 4 where the hosts are well and the run itself was not."""
        own = [ExitCode.SETUP] if self.troubles else []
        return worst([self.report.exit_code, *own])


def run(targets: Targets, settings: Settings, ui: Ui) -> Night:
    """Verify every host of ``targets``, compare with the nights before, tell, keep and rotate.

    Raises:
        AlreadyRunningError: the run before is still at work.
        UsageError: a notification URL that Apprise does not know.
        PlaybookError: Ansible could not run at all.
    """
    notify.check(settings.notify)
    with only_one(settings.state_dir):
        report = verify(
            targets, settings, ui, command=COMMAND, works=declared_works(targets, settings)
        )
        night = judge(report, settings)
        night = _troubled(night, _keep_house(night, targets, settings))
        night = _troubled(night, tracking.send(report, settings))
        told = notify.message(night)
        if told:
            night = _troubled(night, notify.send(settings.notify, told))
    return night


def _troubled(night: Night, troubles: Iterable[str]) -> Night:
    return replace(night, troubles=(*night.troubles, *troubles))


def judge(report: RunReport, settings: Settings) -> Night:
    """What became of the hosts of ``report``, which is in the history already."""
    try:
        with open_history(settings.state_dir) as history:
            return _compare(report, history)
    except GpuhostError as error:
        return Night(report, troubles=(f"{error.message} {error.remedy}",))


def _compare(report: RunReport, history: History) -> Night:
    night = _Comparison(report)
    for host in report.hosts:
        night.add(history.of_host(host.host))
    return night.result()


class _Comparison:
    """Collects what became of the hosts of one report."""

    def __init__(self, report: RunReport) -> None:
        self._report = report
        self._transitions: dict[str, Sequence[Transition]] = {}
        self._onsets: dict[tuple[str, str], Onset] = {}
        self._standings: dict[str, Standing] = {}
        self._previous = ""

    def add(self, newest_first: Sequence[Examination]) -> None:
        """Compare a host's examination in this report with those before."""
        now = next((e for e in newest_first if e.run.run_id == self._report.run_id), None)
        if now is None:
            return
        earlier = nights_before(now.run.run_id, newest_first)
        found = transitions(now, earlier)
        self._transitions[now.host] = found
        for transition in found:
            if began := onset(transition.check, [now, *earlier]):
                self._onsets[now.host, transition.check] = began
        self._standings[now.host] = standing(newest_first)
        self._previous = max(self._previous, *(e.run.started for e in earlier[:1]), "")

    def result(self) -> Night:
        """The night so far; a host that the history has not is a trouble."""
        absent = [
            host.host
            for host in self._report.hosts
            if not host.skipped and host.host not in self._transitions
        ]
        return Night(
            self._report,
            self._transitions,
            self._onsets,
            self._standings,
            self._previous,
            (f"The history lacks this run of {', '.join(absent)}.",) if absent else (),
        )


def nights_before(run_id: str, newest_first: Sequence[Examination]) -> list[Examination]:
    """The complete examinations before a run, newest first."""
    ids = [examination.run.run_id for examination in newest_first]
    start = ids.index(run_id) + 1 if run_id in ids else 0
    return [e for e in newest_first[start:] if e.run.complete]


def _keep_house(night: Night, targets: Targets, settings: Settings) -> Iterator[str]:
    """Write the quarantine list and rotate; yields what could not be done."""
    try:
        quarantine.write(
            settings.state_dir, night.standings.values(), targets.inventory, targets.members
        )
    except OSError as error:
        yield f"The list of quarantined hosts could not be written: {error}."
    if settings.textfile:
        try:
            write_metrics(night, settings.textfile)
        except OSError as error:
            yield f"The metrics could not be written to {settings.textfile}: {error.strerror}."
    yield from rotate(settings, datetime.now(UTC))


def write_metrics(night: Night, path: Path) -> None:
    """Write the night's metrics in one step: the node exporter may read at any time.

    Raises:
        OSError: the file cannot be written.
    """
    quarantined = [found.host for found in night.standings.values() if found.quarantined]
    metrics = io.StringIO()
    prometheus.write(night.report, metrics, quarantined)
    # The exporter is another user, and the service's umask keeps files from those.
    replace_text(path, metrics.getvalue(), mode=0o644)


def rotate(settings: Settings, now: datetime) -> Iterator[str]:
    """Forget the runs that are older than ``settings.keep_days``; yields what went wrong."""
    oldest = (now - timedelta(days=settings.keep_days)).isoformat(timespec="seconds")
    try:
        with open_history(settings.state_dir) as history:
            history.forget_before(oldest)
    except GpuhostError as error:
        yield f"Old runs were not forgotten. {error.message}"
    stamp = runs.stamp(oldest)
    for folder in settings.runs_dir.glob("2*Z-*"):
        if folder.name < stamp and folder.is_dir() and not folder.is_symlink():
            try:
                shutil.rmtree(folder)
            except OSError as error:
                yield f"The old run {folder} could not be removed: {error.strerror}."


@contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Refuse to run while another run of the same state folder is at work."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise _already_running(lock.read()) from None
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "since": runs.now()}))
        lock.flush()
        yield


def _already_running(text: str) -> AlreadyRunningError:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return AlreadyRunningError(
        f"A nightly run is still at work ({who}).",
        "Wait for its end. If it takes longer than a night, verify fewer hosts in one run.",
    )
