"""Commands that always end: bounded in time and in output, killed with their children."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from typing import Callable, Dict, List, Optional, Sequence

from gpuhost.probe.schema import Command

OUTPUT_LIMIT_BYTES = 1 << 20
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Run = Callable[[Sequence[str]], Command]
"""Runs one command, given as its argument vector, within a time limit of its own."""


def which(program: str) -> Optional[str]:
    """The program's path in the folders where a system administrator's shell looks."""
    return shutil.which(program, path=SEARCH_PATH)


def runner(timeout_s: float) -> Run:
    """A :data:`Run` whose commands are killed after ``timeout_s`` seconds."""

    def run(argv: Sequence[str]) -> Command:
        return command(argv, timeout_s)

    return run


def command(argv: Sequence[str], timeout_s: float) -> Command:
    """Run ``argv`` in a process group of its own and say how it went; raises nothing.

    On a time-out the group is killed, ``rc`` is None and the output so far is
    kept. A program that is not there, or cannot be run, is ``error``.
    """
    began = time.monotonic()
    done: Command = {
        "argv": list(argv),
        "rc": None,
        "stdout": "",
        "stderr": "",
        "duration_s": 0.0,
        "timed_out": False,
        "error": None,
    }
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C", "PATH": SEARCH_PATH},
            start_new_session=True,
        )
    except OSError as error:
        done["error"] = f"{argv[0]}: {error.strerror or error}"
        return done
    try:
        output = _read(process, began + timeout_s)
        done["rc"] = _wait(process, began + timeout_s)
    finally:
        _end(process)
    done["timed_out"] = done["rc"] is None
    done["stdout"], done["stderr"] = output
    done["duration_s"] = round(time.monotonic() - began, 3)
    return done


def _read(process: subprocess.Popen[bytes], deadline: float) -> List[str]:
    """What the process prints on both streams until it closes them or the time is up."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    kept: Dict[int, bytearray] = {stream.fileno(): bytearray() for stream in streams}
    with selectors.DefaultSelector() as selector:
        for fd in kept:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                # What is over the limit is still read, or the program would wait for ever.
                kept[key.fd] += data[: OUTPUT_LIMIT_BYTES - len(kept[key.fd])]
    return [bytes(data).decode("utf-8", "replace") for data in kept.values()]


def _wait(process: subprocess.Popen[bytes], deadline: float) -> Optional[int]:
    try:
        return process.wait(max(deadline - time.monotonic(), 0.05))
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group; what hangs inside the kernel is left to end when it can."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
