"""The processes of one run, found by the run's own folder, which no other process knows of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from signal import Signals

PROC = Path("/proc")
PATIENCE_S = 5.0
INTERVAL_S = 0.005


def descendants(folder: Path) -> Iterator[int]:
    """Whatever has ``folder`` in its environment: Ansible, its workers, what they started."""
    mark = f"={folder}/".encode()
    return _where(lambda process: mark in (process / "environ").read_bytes())


def children(folder: Path) -> Iterator[int]:
    """Those of the descendants that this process started itself."""
    parent = os.getpid()
    return (pid for pid in descendants(folder) if _parent_of(pid) == parent)


def connections(folder: Path) -> Iterator[int]:
    """The shared ssh connections, which stay open in the background with a socket in ``folder``.

    They have written their title over their environment.
    """
    mark = f"ssh: {folder}/".encode()
    return _where(lambda process: (process / "cmdline").read_bytes().startswith(mark))


def end(find: Callable[[Path], Iterator[int]], folder: Path) -> None:
    """Kill what ``find`` finds for ``folder``, and return when it is gone.

    Nothing is left that could still write into the folder.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (pids := list(find(folder))) and time.monotonic() < deadline:
        signal_all(pids, Signals.SIGKILL)
        time.sleep(INTERVAL_S)


def signal_all(pids: Iterable[int], signal: Signals) -> None:
    """Send ``signal`` to each of the processes that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal)


def _where(matches: Callable[[Path], bool]) -> Iterator[int]:
    for process in PROC.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            # Others' processes cannot be read, and any may end meanwhile.
            with suppress(OSError):
                if matches(process):
                    yield int(process.name)


def _parent_of(pid: int) -> int:
    with suppress(OSError):
        # The name, in parentheses, may itself have spaces and parentheses in it.
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0
