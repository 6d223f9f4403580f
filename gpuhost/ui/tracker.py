"""What each host is doing right now, kept from the stream of events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpuhost.events import Event, HostResult, HostStarted, Progress

Clock = Callable[[], float]
# Between two tasks every host waits for a moment, and that is not worth a word.
A_MOMENT_S = 1.0
# Hosts that began about the same time count as one, so that the choice of the slow ones is calm.
STEP_S = 5.0


@dataclass
class HostProgress:
    """One host's place in the work; times are seconds of the tracker's clock.

    ``since`` is when its present task began, or its waiting for the next one;
    ``words`` say how far it has come with it.
    """

    name: str
    task: str = "connecting"
    since: float = 0.0
    words: str = ""
    begun: bool = False
    between: bool = False
    ended: str = ""

    @property
    def doing(self) -> str:
        """The task, and how far it has come."""
        return f"{self.task}  {self.words}" if self.words else self.task


@dataclass
class Tracker:
    """Progress of one stage over its hosts."""

    title: str
    names: Sequence[str]
    clock: Clock = time.monotonic
    began: float = 0.0
    hosts: dict[str, HostProgress] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.hosts = {name: HostProgress(name, since=self.began) for name in self.names}

    def follow(self, event: Event) -> None:
        """Take one event into account."""
        if not isinstance(event, HostStarted | HostResult | Progress):
            return
        host = self.hosts.get(event.host)
        if host is None:
            return
        if isinstance(event, Progress):
            host.words = event.words
            return
        host.since = self.clock()
        host.begun = True
        host.words = ""
        if isinstance(event, HostStarted):
            # A host that goes on after a failure was rescued by its playbook.
            host.task, host.between, host.ended = label(event), False, ""
            return
        host.between = True
        if event.status in ("failed", "unreachable"):
            host.ended = event.status

    def reason(self, event: HostResult) -> str:
        """Why a task failed; nothing where it repeats what the host's last failure said."""
        if event.status == "changed" or self.reasons.get(event.host) == event.message:
            return ""
        self.reasons[event.host] = event.message
        return event.message

    def elapsed(self, host: HostProgress) -> float:
        """Seconds that the host has been at its present task, or has waited for the next."""
        return self.clock() - host.since

    def total(self) -> float:
        """Seconds since the stage began."""
        return self.clock() - self.began

    def waits(self, host: HostProgress) -> bool:
        """Whether the host waits for the others: to end their task, or for its turn to begin."""
        if host.ended or self.elapsed(host) < A_MOMENT_S:
            return False
        return host.between or (not host.begun and any(h.begun for h in self.hosts.values()))

    def at_work(self) -> list[HostProgress]:
        """The hosts that are at a task, those that have been at it longest first."""
        found = [h for h in self.hosts.values() if not (h.ended or self.waits(h))]
        return sorted(found, key=lambda host: -(self.elapsed(host) // STEP_S))

    def slowest(self, count: int) -> list[HostProgress]:
        """``count`` hosts to look at, in the order of the inventory.

        Those that have been at a task longest come before those that wait,
        and these before those that ended.
        """
        rest = sorted(self.hosts.values(), key=lambda host: bool(host.ended))
        chosen = list(dict.fromkeys(host.name for host in [*self.at_work(), *rest]))[:count]
        return [host for host in self.hosts.values() if host.name in chosen]


def label(event: HostStarted | HostResult) -> str:
    """A task's name with its role before it, once."""
    task = event.task.removeprefix(f"{event.role} : ")
    return f"{event.role}: {task}" if event.role else task


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 4.2 s, 1 min 05 s."""
    if seconds < 60:  # noqa: PLR2004  (seconds in a minute)
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
