"""Runs playbooks. The only importer of ansible_runner.

ansible-runner drives ``ansible-playbook`` in a thread, whose only task is to
put events into a queue; the caller's thread takes them out, listens, and on
whatever interrupts it stops Ansible before it lets go. All that a run needs
on disk (variables, events, sockets of connections) is in one folder of its
own, that only this user can read and that is gone when the run is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, Self

import ansible_runner

from gpuhost import ansible_env, processes
from gpuhost.ansible_env import playbooks_dir
from gpuhost.errors import Interrupted, InventoryError, PlaybookError
from gpuhost.events import Event, translate
from gpuhost.outcome import HostOutcome, Outcome, Tally

__all__ = ["HostOutcome", "Outcome", "playbooks_dir", "run"]

Listener = Callable[[Event], None]

# A longer one would not leave room for the sockets of ssh, whose paths end at 108 bytes.
LONGEST_BASE = 40
SHORT_BASE = Path("/tmp")  # noqa: S108  (the folder in it is made by mkdtemp)
PREFIX = "gpuhost-run-"
LOCK = "lock"
LIMIT = "limit"
# How often ansible-runner looks up from its work, and how long Ansible may take to stop by itself.
POLL_S = 1
GRACE_S = 1.5
# Larger than any Evidence: ansible-runner empties results above this, without a word.
LARGEST_RESULT = 64 * 1024 * 1024


def run(
    playbook: str,
    inventory: Path,
    hosts: Sequence[str],
    extra_vars: Mapping[str, object],
    listen: Listener,
    *,
    forks: int | None = None,
    tags: Sequence[str] = (),
    check: bool = False,
    diff: bool = False,
) -> Outcome:
    """Run ``playbook`` (a file of the playbooks folder, or any path) on ``hosts``.

    ``listen`` is called in this thread with each event, in order, and may
    take its time.

    Raises:
        InventoryError: there is no such inventory.
        PlaybookError: Ansible could not run the playbook, or not to its end.
        Interrupted: Ctrl-C; Ansible was stopped.
    """
    if not hosts:
        raise ValueError("A playbook without hosts would run on all of them.")
    if not inventory.exists():
        # Ansible would take the path for the name of a host.
        raise InventoryError(f"There is no inventory {inventory}.", "Name one with -i PATH.")
    with _interruptible_once(), _private_folder() as folder:
        arguments = runner_arguments(
            folder,
            playbook=playbooks_dir() / playbook,
            inventory=inventory,
            extra_vars=extra_vars,
            forks=forks,
            tags=tags,
            cmdline=" ".join(["--check"] * check + ["--diff"] * diff),
        )
        (folder / LIMIT).write_text("".join(f"{host}\n" for host in hosts))
        tally = Tally(hosts)
        try:
            with _Play(folder, arguments) as play:
                for event in play.events():
                    tally.follow(event)
                    listen(event)
        except KeyboardInterrupt:
            raise _interrupted(tally) from None
        return _outcome(play, tally, playbook)


def runner_arguments(
    folder: Path,
    *,
    playbook: Path,
    inventory: Path,
    extra_vars: Mapping[str, object],
    forks: int | None,
    tags: Sequence[str],
    cmdline: str,
) -> dict[str, Any]:
    """What :func:`ansible_runner.run` is called with; ``folder`` is the run's own."""
    return {
        "private_data_dir": str(folder),
        # The folder that relative paths in an inventory start from, as with ansible-playbook.
        "project_dir": os.getcwd(),  # noqa: PTH109  (Path.cwd() is the same, runner wants a str)
        "playbook": str(playbook),
        "inventory": os.path.abspath(inventory),  # noqa: PTH100  (Ansible follows no links either)
        # A file, because a fleet's names would not fit on a command line.
        "limit": f"@{folder / LIMIT}",
        "extravars": dict(extra_vars),
        "envvars": environment(folder),
        "forks": forks,
        "tags": ",".join(tags) or None,
        "cmdline": cmdline or None,
        "quiet": True,
        "fact_cache_type": "memory",
        "settings": {"pexpect_timeout": POLL_S, "suppress_output_file": True},
    }


def environment(folder: Path) -> dict[str, str]:
    """What ansible-playbook gets on top of this process's own environment."""
    return ansible_env.variables() | {
        # ansible-runner turns the checking of host keys off where nobody says this.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_SSH_HOST_KEY_CHECKING": "True",
        # Connections last as long as the run: a later one must not see the groups, or talk to
        # the sshd, of a login before it.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_PIPELINING": os.environ.get("ANSIBLE_PIPELINING", "True"),
        "ANSIBLE_GATHERING": os.environ.get("ANSIBLE_GATHERING", "explicit"),
        # The callback that ansible-runner's own is built on, and what would make that one fail.
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "JOB_ID": "",
        "MAX_EVENT_RES": str(LARGEST_RESULT),
    }


class _Play:
    """One ``ansible-playbook``, driven by ansible-runner in a thread.

    It works while the context lasts; leaving that ends it, and its connections.
    """

    def __init__(self, folder: Path, arguments: Mapping[str, Any]) -> None:
        self.rc: int | None = None
        self.error: BaseException | None = None
        self._folder = folder
        self._arguments = arguments
        self._queue: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._kill = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="ansible-runner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def events(self) -> Iterator[Event]:
        """Every event of the run, as it comes."""
        while (raw := self._queue.get()) is not None:
            event = translate(raw)
            if event is not None:
                yield event

    def _stop(self) -> None:
        # Ansible ends its workers itself when it is asked to; ansible-runner would only kill it.
        if self._is_unfinished():
            processes.signal_all(processes.children(self._folder), signal.SIGTERM)
            self._thread.join(GRACE_S)
            self._kill.set()
            processes.end(processes.descendants, self._folder)
        self._thread.join()
        processes.end(processes.connections, self._folder)

    def _is_unfinished(self) -> bool:
        return self._thread.is_alive() and self.rc is None and self.error is None

    def _drive(self) -> None:
        try:
            runner = ansible_runner.run(
                **self._arguments,
                event_handler=self._enqueue,
                status_handler=self._forget_environment,
                cancel_callback=self._kill.is_set,
            )
            self.rc = runner.rc
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            self.error = error
        finally:
            self._queue.put(None)

    def _forget_environment(self, status: Mapping[str, Any], runner_config: Any) -> None:
        # ansible-runner writes the whole environment down, in which there may be secrets.
        if status["status"] == "running":
            Path(runner_config.artifact_dir, "command").unlink(missing_ok=True)

    def _enqueue(self, raw: dict[str, Any]) -> bool:
        # A copy, for ansible-runner uses the dictionary again; False, or it would keep a file.
        self._queue.put(dict(raw))
        return False


def _outcome(play: _Play, tally: Tally, playbook: str) -> Outcome:
    if play.error is not None:
        if isinstance(play.error, OSError):
            raise PlaybookError(f"Ansible could not be started: {play.error}.") from play.error
        raise play.error
    outcome = tally.outcome() if tally.has_ended else None
    if outcome and (play.rc == 0 or any(not host.ok for host in outcome.hosts.values())):
        return outcome
    ended = "without saying why" if play.rc is None else f"with exit code {play.rc}"
    raise PlaybookError(
        f"Ansible could not run {playbook} to its end:\n{tally.last_words or f'it ended {ended}'}",
        "Correct what Ansible names. If it names a file of gpuhost itself, please report it.",
    )


def _interrupted(tally: Tally) -> Interrupted:
    where = [f"{host} ({task})" for host, task in tally.running.items()]
    if not where:
        return Interrupted("Interrupted between two tasks.", "Run the same command again.")
    return Interrupted(
        f"Interrupted. This may still be running there: {', '.join(where)}.",
        "Wait for it to end on the host, then run the same command again.",
    )


@contextmanager
def _private_folder() -> Iterator[Path]:
    # Not $XDG_RUNTIME_DIR: it is removed when the user logs out, and a run may outlive that.
    base = Path(tempfile.gettempdir())
    base = base if len(str(base)) <= LONGEST_BASE else SHORT_BASE
    _remove_abandoned(base)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    with (folder / f"{LOCK}.new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Named only now: a folder whose lock is free counts as abandoned.
        Path(lock.name).rename(folder / LOCK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of runs that were killed: their locks went with them."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / LOCK).open() as lock:
            if folder.lstat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


@contextmanager
def _interruptible_once() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM do what it does, and no other disturb the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}

    def once(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
