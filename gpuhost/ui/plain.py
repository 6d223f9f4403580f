"""Progress as plain lines with times, for logs, pipes and CI."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

from gpuhost.events import Event, HostResult
from gpuhost.ui.base import Ui
from gpuhost.ui.tracker import Tracker, duration, label

HEARTBEAT_S = 30.0
SHOWN_HOSTS = 5
MARGIN = " " * 10


class PlainUi(Ui):
    """One line for what changed or failed, and a sign of life when nothing was said for long."""

    def __init__(self, stream: TextIO, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._stream = stream
        self._heartbeat_s = heartbeat_s
        self._tracker: Tracker | None = None
        self._lock = threading.Lock()
        self._spoke = threading.Event()

    def say(self, line: str) -> None:
        """One line with the time before it."""
        with self._lock:
            clock = datetime.now().astimezone().strftime("%H:%M:%S")
            self._stream.write(f"{clock}  {line}\n")
            self._stream.flush()
        self._spoke.set()

    @contextmanager
    def stage(self, title: str, hosts: Sequence[str]) -> Iterator[None]:
        """Name the work at its begin and its duration at its end."""
        self._tracker = tracker = Tracker(title, hosts)
        done = threading.Event()
        pulse = threading.Thread(target=self._pulse, args=(tracker, done), daemon=True)
        self.say(f"{title}: {', '.join(hosts)}")
        pulse.start()
        try:
            yield
        finally:
            done.set()
            self._spoke.set()
            pulse.join()
            self._tracker = None
        self.say(f"{title}: done in {duration(tracker.total())}")

    def listen(self, event: Event) -> None:
        """Say what changed or failed; the rest is only followed."""
        if self._tracker is None:
            return
        self._tracker.follow(event)
        if isinstance(event, HostResult) and event.status in ("changed", "failed", "unreachable"):
            first, *others = self._tracker.reason(event).splitlines() or [""]
            words = "".join([f"  {first}" if first else "", *(f"\n{MARGIN}{o}" for o in others)])
            took = duration(event.duration_s)
            self.say(f"{event.host}  {label(event)}  {event.status}  {took}{words}")

    def _pulse(self, tracker: Tracker, done: threading.Event) -> None:
        while not done.is_set():
            self._spoke.clear()
            if self._spoke.wait(self._heartbeat_s) or done.is_set():
                continue
            self._tell_slowest(tracker)

    def _tell_slowest(self, tracker: Tracker) -> None:
        at_work = tracker.at_work()
        for host in at_work[:SHOWN_HOSTS]:
            self.say(f"{host.name}  still at {host.doing}, {duration(tracker.elapsed(host))}")
        if hidden := at_work[SHOWN_HOSTS:]:
            self.say(f"… and {len(hidden)} more hosts are at work")
