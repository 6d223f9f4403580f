"""Runs planned trials: one alone, or a pair whose containers are open at the same time."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

from gpuhost.probe import inside
from gpuhost.probe.engine_api import (
    STDERR,
    ContainerSpec,
    DeviceRequest,
    Engine,
    EngineError,
    EngineTimeoutError,
    RefusedError,
    Stream,
)
from gpuhost.probe.owner import LABEL
from gpuhost.probe.schema import Trial
from gpuhost.probe.trials import CDI, RUNTIME, PlannedTrial, docker_run

# What a container may print on one stream, and what is kept of one that prints more.
OUTPUT_LIMIT_BYTES, EXCERPT_BYTES = 1 << 18, 1 << 11
# How much longer than its trial a container may live, should nobody be left to remove it.
SELF_DESTRUCTION_S = 30
# Fewer than LEAST_PARALLEL: a host on which everything hangs is given up after one time limit.
TIMEOUTS_ALLOWED = 3

Job = Tuple[PlannedTrial, ...]
"""One trial, or the two of a pair."""


@dataclass(frozen=True)
class Session:
    """What all trials of one run share. ``began`` is on time.monotonic's clock."""

    run_id: str
    began: float
    deadline: float
    trial_timeout_s: float


class Brake:
    """Says when to stop trying: the time is up, too many timed out, or the run was told to end."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._timeouts = 0
        self._lock = threading.Lock()
        self._pulled = ""

    def pull(self, why: str) -> None:
        """From now on nothing is tried."""
        self._pulled = self._pulled or why

    def count_timeout(self) -> None:
        """Each costs its whole time limit: a host where nothing answers must not take hours."""
        with self._lock:
            self._timeouts += 1
        if self._timeouts >= TIMEOUTS_ALLOWED:
            self.pull(f"not tried: {TIMEOUTS_ALLOWED} trials had timed out before")

    def why_not(self) -> str:
        """Why nothing more may be tried; empty while all is well."""
        if not self._pulled and time.monotonic() > self._deadline:
            self.pull("not tried: the time for all trials was up")
        return self._pulled


def jobs(planned: Sequence[PlannedTrial]) -> List[Job]:
    """The trials in the groups that run together; pairs first, because they take longest."""
    pairs = list(dict.fromkeys(trial.pair for trial in planned if trial.pair))
    together = [tuple(trial for trial in planned if trial.pair == pair) for pair in pairs]
    return together + [(trial,) for trial in planned if not trial.pair]


def run_job(engine: Engine, job: Job, session: Session, brake: Brake) -> List[Trial]:
    """Run one job; whatever happens, there is a record for each of its trials.

    Where one is never heard of, those that were to be open beside it are not tried.
    """
    why_not = brake.why_not()
    if why_not:
        return [not_tried(trial, why_not) for trial in job]
    runs: List[TrialRun] = []
    try:
        for trial in job:
            runs.append(TrialRun(engine, trial, session))
            if not runs[-1].open():
                brake.count_timeout()
                break
    finally:
        records = [run.close() for run in runs]
    beside = f"not tried: {job[0].id}, beside which it was to run, did not end in time"
    return records + [not_tried(trial, beside) for trial in job[len(runs) :]]


def not_tried(trial: PlannedTrial, why: str) -> Trial:
    """The record of a trial that could not be carried out."""
    return _record(trial, _Seen(outcome="error", error=why), "", "")


def container_spec(trial: PlannedTrial, session: Session) -> ContainerSpec:
    """The container that makes the trial's request."""
    lifetime_s = session.trial_timeout_s + SELF_DESTRUCTION_S
    spec = ContainerSpec(
        image=trial.image,
        shell_arguments=inside.command(lifetime_s),
        labels={LABEL: session.run_id},
    )
    if trial.path == RUNTIME:
        visible = {"NVIDIA_VISIBLE_DEVICES": ",".join(trial.request)}
        return replace(spec, runtime="nvidia", environment=visible)
    if not trial.devices:
        return spec
    if trial.path == CDI:
        return replace(spec, devices=DeviceRequest("cdi", tuple(trial.request)))
    all_gpus = trial.devices == ("all",)
    return replace(spec, devices=DeviceRequest("", () if all_gpus else trial.devices))


@dataclass
class _Seen:
    outcome: str = "ran"
    error: Optional[str] = None
    opened_s: float = 0.0
    closed_s: float = 0.0


class TrialRun:
    """One trial: :meth:`open` until the container has reported, then :meth:`close`."""

    def __init__(self, engine: Engine, trial: PlannedTrial, session: Session) -> None:
        self._engine = engine
        self._trial = trial
        self._session = session
        self._seen = _Seen()
        self._id: Optional[str] = None
        self._stream: Optional[Stream] = None
        self._stdout = bytearray()
        self._stderr = bytearray()

    def open(self) -> bool:
        """Start the container and read its report; errors end up in the record.

        False where it did not report in time.
        """
        try:
            self._start()
            self._read_report(time.monotonic() + self._session.trial_timeout_s)
        except EngineTimeoutError as error:
            self._fail("timeout", error)
        except RefusedError as error:
            self._fail("refused", error)
        except EngineError as error:
            self._fail("error", error)
        return self._seen.outcome != "timeout"

    def close(self) -> Trial:
        """Let the container end, and give the record of the trial."""
        if self._stream is not None:
            self._stream.close_stdin()
            self._stream.close()
        self._seen.closed_s = self._now()
        if self._id is not None and self._seen.outcome in ("timeout", "error"):
            with contextlib.suppress(EngineError):
                self._engine.remove(self._id)
        return _record(self._trial, self._seen, _text(self._stdout), _text(self._stderr))

    def _start(self) -> None:
        self._id = self._engine.create(container_spec(self._trial, self._session))
        try:
            self._stream = self._engine.attach(self._id)
        except RefusedError as error:
            # Nobody said no to the devices that were asked for.
            raise EngineError(f"could not attach: {error}") from error
        self._engine.start(self._id)
        self._stream.say(b"\n")
        self._seen.opened_s = self._now()

    def _read_report(self, deadline: float) -> None:
        while not inside.is_complete(bytes(self._stdout), bytes(self._stderr)):
            if not self._read_piece(deadline):
                raise EngineError("the container ended before it had reported")

    def _read_piece(self, deadline: float) -> bool:
        piece = self._stream.read(deadline) if self._stream else None
        if piece is None:
            return False
        number, data = piece
        kept = self._stderr if number == STDERR else self._stdout
        kept += data
        if len(kept) > OUTPUT_LIMIT_BYTES:
            del kept[EXCERPT_BYTES:]
            raise EngineError(f"the container printed more than {OUTPUT_LIMIT_BYTES >> 10} KiB")
        return True

    def _fail(self, outcome: str, error: EngineError) -> None:
        self._seen.outcome = outcome
        self._seen.error = str(error)

    def _now(self) -> float:
        # To the microsecond: the second of a pair may report as soon as it is open, and then the
        # first is closed within the same millisecond.
        return round(time.monotonic() - self._session.began, 6)


def _text(data: bytearray) -> str:
    return bytes(data).decode("utf-8", "replace")


def _record(trial: PlannedTrial, seen: _Seen, stdout: str, stderr: str) -> Trial:
    report = inside.parse(stdout, stderr)
    return {
        "id": trial.id,
        "path": trial.path,
        "selector": trial.selector,
        "request": trial.request,
        "expected_uuids": trial.expected_uuids,
        "expected_bus_ids": trial.expected_bus_ids,
        "image_role": trial.image_role,
        "image": trial.image,
        "user": trial.user,
        "pair": trial.pair,
        "docker_run": docker_run(trial),
        "outcome": seen.outcome,
        "exit_code": report.exit_code,
        "list_gpus": report.list_gpus,
        "query": report.query,
        "nvml": report.nvml,
        "output": report.rest,
        "error": seen.error,
        "served_by": report.visible_devices,
        "device_nodes": report.nodes,
        "opened_s": seen.opened_s,
        "closed_s": seen.closed_s,
    }
