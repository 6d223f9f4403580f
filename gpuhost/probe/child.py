"""Work in a process of its own, so that it can be given up.

A call into a driver that hangs cannot be interrupted from within: only its
process can be left behind. The same holds for one that crashes.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
import traceback
from types import FrameType
from typing import Any, Callable, Iterable, List, NoReturn, Optional

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KILL_WAIT_S = 1.0


class Stopped(BaseException):
    """The process was told to end; not an Exception, so that nothing swallows it."""


class ChildError(Exception):
    """Why a child gave no answer, in words for the reader of the Evidence."""


def stop_on_signals() -> None:
    """From now on SIGTERM, SIGINT and SIGHUP raise :class:`Stopped` in the main thread."""
    for number in STOP_SIGNALS:
        signal.signal(number, _raise_stopped)


def _raise_stopped(number: int, _frame: Optional[FrameType]) -> None:
    # Once is enough: a second signal must not cut the cleaning up short.
    for other in STOP_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(signal.Signals(number).name)


def describe(error: BaseException) -> str:
    """An exception as one line: kind, words and the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""  # noqa: PTH119
    return f"{type(error).__name__}: {error}{place}"


class Child:
    """One function at work in a forked process; what it returns must be JSON.

    ``limit_s`` is the time it has. Then it is told to end (SIGTERM), and
    killed when ``grace_s`` more seconds have passed.
    """

    def __init__(self, work: Callable[[], Any], limit_s: float, grace_s: float = 1.0) -> None:
        self.began = time.monotonic()
        self.deadline = self.began + limit_s
        self.duration_s = 0.0
        self._grace_s = grace_s
        self._timed_out = False
        self._status: Optional[int] = None
        self._received = bytearray()
        self._fd, write_fd = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _work_and_exit(work, write_fd)
        os.close(write_fd)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to come from it."""
        return self._fd < 0

    def fileno(self) -> int:
        """What to wait on until it is readable; then call :meth:`receive`."""
        return self._fd

    def receive(self) -> None:
        """Take in what the child has sent."""
        data = os.read(self._fd, 1 << 16)
        self._received += data
        if not data:
            self._close()

    def answer(self) -> Any:
        """Wait for the end and give what the function returned, or raise :class:`ChildError`."""
        while not self.ended:
            wait_any([self])
        if self._timed_out:
            raise ChildError(f"gave no answer within {self.deadline - self.began:.3g} s")
        try:
            message = json.loads(self._received)
        except ValueError:
            raise ChildError(f"ended without an answer ({_how_it_ended(self._status)})") from None
        self.duration_s = message["duration_s"]
        if message["error"] is not None:
            raise ChildError(message["error"])
        return message["data"]

    def stop(self) -> None:
        """End it now: by SIGTERM, so that it can clean up, and after the grace by force."""
        if not self.ended:
            self._timed_out = True
            self._signal(signal.SIGTERM)
            self._close()

    def _close(self) -> None:
        """Wait for the process; kill it after the grace, and leave it if that does not help."""
        if not self._wait(self._grace_s):
            self._signal(signal.SIGKILL)
            self._wait(KILL_WAIT_S)
        os.close(self._fd)
        self._fd = -1
        self.duration_s = time.monotonic() - self.began

    def _wait(self, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        pause_s = 0.001
        while self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = status
            elif time.monotonic() > deadline:
                return False
            else:
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)
        return True

    def _signal(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)


def wait_any(children: Iterable[Child]) -> List[Child]:
    """Wait until at least one has ended or run out of time, and give all that have."""
    waiting = list(children)
    with selectors.DefaultSelector() as selector:
        for child in waiting:
            if not child.ended:
                selector.register(child, selectors.EVENT_READ, child)
        while not any(child.ended for child in waiting):
            left = min(child.deadline for child in waiting) - time.monotonic()
            for key, _ in selector.select(max(left, 0)):
                key.data.receive()
            for child in waiting:
                if child.deadline <= time.monotonic():
                    child.stop()
    return [child for child in waiting if child.ended]


def _work_and_exit(work: Callable[[], Any], write_fd: int) -> NoReturn:
    """The child's whole life. It never returns into the parent's code."""
    try:
        # Away from the terminal's signals and from the streams of the probe: a child that
        # hangs for ever must not keep the ssh session open.
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        stop_on_signals()
        _send(write_fd, _message(work))
    except BaseException:  # noqa: BLE001, S110 — there is nobody left to tell
        pass
    finally:
        os._exit(0)


def _message(work: Callable[[], Any]) -> bytes:
    began = time.monotonic()
    data, error = "null", None
    try:
        data = json.dumps(work())
    except Exception as caught:  # noqa: BLE001 — whatever it is becomes the section's error
        error = describe(caught)
    duration_s = time.monotonic() - began
    return f'{{"data":{data},"error":{json.dumps(error)},"duration_s":{duration_s}}}'.encode()


def _send(fd: int, message: bytes) -> None:
    view = memoryview(message)
    while view:
        view = view[os.write(fd, view) :]


def _how_it_ended(status: Optional[int]) -> str:
    if status is None:
        return "it could not be killed"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"
