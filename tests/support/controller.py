"""A gpuhost that is killed at its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.lab import Lab


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += parents.get(one, [])
    return found


@contextmanager
def at_work(lab: Lab, *words: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A gpuhost command under way, and the file that its progress goes to; killed in the end."""
    log = lab.project / "controller.log"
    with log.open("w") as stream:
        controller = subprocess.Popen(
            [sys.executable, "-m", "gpuhost", *words],
            cwd=lab.project,
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    try:
        yield controller, log
    finally:
        for pid in family(controller.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        controller.wait()


def wait_for(words: str, controller: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 240
    while words not in log.read_text():
        assert controller.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
