"""Runs planned trials: one alone, or a pair whose containers are open at the same time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

from gpuhost.probe import inside
from gpuhost.probe.conversation import Conversation
from gpuhost.probe.engine_api import ContainerSpec, DeviceRequest, Engine
from gpuhost.probe.owner import LABEL
from gpuhost.probe.schema import Trial
from gpuhost.probe.trials import CDI, RUNTIME, PlannedTrial, docker_run

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


@dataclass(frozen=True)
class _Seen:
    outcome: str = "ran"
    error: Optional[str] = None
    opened_s: float = 0.0
    closed_s: float = 0.0


class TrialRun:
    """One trial: :meth:`open` until the container has reported, then :meth:`close`."""

    def __init__(self, engine: Engine, trial: PlannedTrial, session: Session) -> None:
        self._trial = trial
        self._session = session
        self._container = Conversation(engine, container_spec(trial, session))

    def open(self) -> bool:
        """Start the container and read its report; errors end up in the record.

        False where it did not report in time.
        """
        self._container.hear(self._session.trial_timeout_s)
        return self._container.outcome != "timeout"

    def close(self) -> Trial:
        """Let the container end, and give the record of the trial."""
        container = self._container
        container.close()
        seen = _Seen(
            container.outcome,
            container.error,
            opened_s=0.0 if container.opened_at is None else self._since(container.opened_at),
            closed_s=self._since(time.monotonic()),
        )
        if container.outcome in ("timeout", "error"):
            container.remove()
        return _record(self._trial, seen, container.stdout, container.stderr)

    def _since(self, moment: float) -> float:
        # To the microsecond: the second of a pair may report as soon as it is open, and then the
        # first is closed within the same millisecond.
        return round(moment - self._session.began, 6)


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
