"""Section ``containers``: the partition proof, by containers that are started for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Dict, List, Optional, Sequence

from gpuhost.probe import brought, engine_api, images, limits, owner, trial_runner, trials
from gpuhost.probe.child import Child, ChildError
from gpuhost.probe.engine_api import Engine, EngineError
from gpuhost.probe.images import Connect
from gpuhost.probe.root import Root
from gpuhost.probe.schema import Containers, Image, Spec, Trial, Trials
from gpuhost.probe.trial_runner import Brake, Job, Session
from gpuhost.probe.trials import PlannedTrial

CLEAN_PAUSE_S = 0.05
# A daemon that does not answer by then to a question while cleaning up is asked again.
CLEAN_CALL_S = 5.0
SELF_REMOVAL_S = 3.0
# The report has to be sent before the process is killed.
CLEAN_MARGIN_S = 3.0
ALIVE = ("running", "created", "paused")


def collect(spec: Spec, planned: Sequence[PlannedTrial]) -> Containers:
    """Run the planned trials on this host; raises EngineError if the daemon does not answer."""
    asked = spec["trials"]
    if asked is None:
        return {"images": [], "trials": [], "left_behind": [], "swept": []}
    began = time.monotonic()
    session = Session(
        run_id=owner.run_id(Root()),
        began=began,
        deadline=began + limits.containers_s(spec, len(planned)),
        trial_timeout_s=asked["trial_timeout_s"],
    )
    proof = Proof(engine_api.connect, spec["command_timeout_s"], session, asked, Root())
    return proof.run(planned)


class Proof:
    """All trials of one run. ``connect`` gives an engine whose calls take so many seconds."""

    def __init__(
        self,
        connect: Connect,
        call_timeout_s: float,
        session: Session,
        asked: Trials,
        root: Root,
    ) -> None:
        self._connect = connect
        self._engine = connect(call_timeout_s)
        self._session = session
        self._asked = asked
        self._root = root
        self._brake = Brake(session.deadline)
        self._local = threading.local()
        self._futures: List[Future[List[Trial]]] = []
        self._children: List[Child] = []

    def run(self, planned: Sequence[PlannedTrial]) -> Containers:
        """Sweep, pull, try, clean up; the records are in the order of the plan."""
        swept = sweep(self._engine, self._root)
        roles = trials.roles_wanted(self._asked, planned)
        found = images.prepare(self._connect, self._engine, self._asked, roles)
        brought.note(self._engine, found, self._root)
        try:
            records = self._try(planned, found)
        finally:
            self._brake.pull("not tried: the probe was told to end")
            for child in self._children:
                child.stop()
            left_behind = self.clean()
        return {
            "images": found,
            "trials": [records[trial.id] for trial in planned],
            "left_behind": left_behind,
            "swept": swept,
        }

    def _try(self, planned: Sequence[PlannedTrial], found: Sequence[Image]) -> Dict[str, Trial]:
        missing = {i["reference"]: i["pull_error"] for i in found if i["id"] is None}
        records = [
            trial_runner.not_tried(t, f"image {t.image} is not on the host: {missing[t.image]}")
            for t in planned
            if t.image in missing
        ]
        able = [trial for trial in planned if trial.image not in missing]
        # Forked while this process has no threads yet.
        users = [self._start_as_user(trial) for trial in able if trial.user is not None]
        pool = ThreadPoolExecutor(max_workers=limits.parallel(self._asked))
        try:
            own = trial_runner.jobs([trial for trial in able if trial.user is None])
            self._futures = [pool.submit(self._run_job, job) for job in own]
            for future in self._futures:
                records += future.result()
            records += [finish() for finish in users]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return {record["id"]: record for record in records}

    def _run_job(self, job: Job) -> List[Trial]:
        try:
            if not hasattr(self._local, "engine"):
                # One connection pool a thread: docker-py's is not made for sharing.
                self._local.engine = self._connect(self._asked["trial_timeout_s"])
            engine: Engine = self._local.engine
        except EngineError as error:
            return [trial_runner.not_tried(trial, str(error)) for trial in job]
        return trial_runner.run_job(engine, job, self._session, self._brake)

    def _start_as_user(self, trial: PlannedTrial) -> Callable[[], Trial]:
        name = trial.user or ""

        def work() -> List[Trial]:
            try:
                become(name)
                engine = self._connect(self._asked["trial_timeout_s"])
            except (LookupError, OSError, EngineError) as error:
                return [trial_runner.not_tried(trial, f"as user {name}: {error}")]
            return trial_runner.run_job(engine, (trial,), self._session, self._brake)

        # It has to connect, run the trial and remove what may be left of it.
        child = Child(work, self._asked["trial_timeout_s"] * 3 + limits.CLOSE_S)
        self._children.append(child)

        def finish() -> Trial:
            try:
                record: Trial = child.answer()[0]
            except ChildError as error:
                return trial_runner.not_tried(trial, f"as user {name}: {error}")
            return record

        return finish

    def clean(self) -> Optional[List[str]]:
        """Remove what is still there of this run.

        The short ids of what could not be; None where the daemon does not tell.
        """
        began = time.monotonic()
        deadline = began + limits.CLEAN_S - CLEAN_MARGIN_S
        left: Optional[List[str]] = None
        while time.monotonic() < deadline:
            with contextlib.suppress(EngineError):
                engine = self._connect(CLEAN_CALL_S)
                listed = engine.labelled(f"{owner.LABEL}={self._session.run_id}")
                left = [container["Id"][:12] for container in listed]
                if not left and all(future.done() for future in self._futures):
                    return []
                # The daemon removes by itself those that have ended; it is given a moment.
                patient = time.monotonic() < began + SELF_REMOVAL_S
                alive = [c for c in listed if not patient or c.get("State") in ALIVE]
                _remove(engine, [container["Id"] for container in alive], deadline)
            time.sleep(CLEAN_PAUSE_S)
        return left


def _remove(engine: Engine, identifiers: Sequence[str], deadline: float) -> None:
    """Remove containers until the time is up: one that hangs must not keep the others."""
    for identifier in identifiers:
        if time.monotonic() < deadline:
            with contextlib.suppress(EngineError):
                engine.remove(identifier)


def sweep(engine: Engine, root: Root) -> List[str]:
    """Remove the containers of earlier runs that have no run any more; their short ids."""
    swept = []
    for container in engine.labelled(owner.LABEL):
        if owner.is_orphan(container, root):
            with contextlib.suppress(EngineError):
                engine.remove(container["Id"])
                swept.append(container["Id"][:12])
    return swept


def become(name: str) -> None:
    """Turn this process into one of user ``name``, with the groups of a new login.

    Raises LookupError if there is no such user, OSError if this is not root.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise LookupError(f"there is no user {name!r}") from None
    os.setgroups(os.getgrouplist(name, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    os.environ.pop("DOCKER_CONFIG", None)
