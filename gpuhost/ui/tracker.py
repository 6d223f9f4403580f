"""What each host is doing right now, kept from the stream of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpuhost.events import Event, HostResult, HostStarted

Clock = Callable[[], float]


@dataclass
class HostProgress:
    """One host's place in the work; times are seconds of the tracker's clock."""

    name: str
    task: str = "connecting"
    since: float = 0.0
    waiting: bool = False
    changed: int = 0
    ended: str = ""


@dataclass
class Tracker:
    """Progress of one stage over its hosts."""

    title: str
    names: Sequence[str]
    clock: Clock = time.monotonic
    began: float = 0.0
    hosts: dict[str, HostProgress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.hosts = {name: HostProgress(name, since=self.began) for name in self.names}

    def follow(self, event: Event) -> None:
        """Take one event into account."""
        if not isinstance(event, HostStarted | HostResult) or event.host not in self.hosts:
            return
        host = self.hosts[event.host]
        if isinstance(event, HostStarted):
            # A host that goes on after a failure was rescued by its playbook.
            host.task, host.since, host.waiting, host.ended = label(event), self.clock(), False, ""
            return
        host.waiting = True
        host.changed += event.status == "changed"
        if event.status in ("failed", "unreachable"):
            host.ended = event.status

    def elapsed(self, host: HostProgress) -> float:
        """Seconds that the host has been at its present task."""
        return self.clock() - host.since

    def total(self) -> float:
        """Seconds since the stage began."""
        return self.clock() - self.began


def label(event: HostStarted | HostResult) -> str:
    """A task's name with its role before it, once."""
    task = event.task.removeprefix(f"{event.role} : ")
    return f"{event.role}: {task}" if event.role else task


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 4.2 s, 1 min 05 s."""
    if seconds < 60:  # noqa: PLR2004  (seconds in a minute)
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
