"""How a run ended for each host, told from its events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpuhost import ssh_words
from gpuhost.events import Event, HostResult, HostStarted, HostStats, Message, Stats, TaskStarted
from gpuhost.ssh_words import Cause

LAST_WORDS = 20


@dataclass(frozen=True)
class HostOutcome:
    """How a run ended for one host.

    ``ok`` is only true of a host that took part in the run and came to its
    end. Otherwise ``message`` has the failing task's own words, ``task`` its
    name, ``cause`` its kind and ``remedy`` what to do, where that is known.
    ``changes`` are the tasks that changed something, in their order.
    ``results`` is what gpuhost's own modules handed back, by key.
    """

    name: str
    ok: bool
    changed: int = 0
    failed: bool = False
    unreachable: bool = False
    message: str = ""
    task: str = ""
    cause: Cause | None = None
    remedy: str = ""
    changes: Sequence[str] = ()
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: every host that was asked for, and any other that took part."""

    hosts: Mapping[str, HostOutcome]


class Tally:
    """Follows the events of one run over ``hosts``."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self._failures: dict[str, HostResult] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._changes: dict[str, list[str]] = {}
        self._running: dict[str, str] = {}
        self._task = ""
        self._words: list[Message] = []
        self._stats: Stats | None = None

    def follow(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, HostResult):
            self._running.pop(event.host, None)
            self._results.setdefault(event.host, {}).update(event.data)
            if event.status in ("failed", "unreachable"):
                self._failures[event.host] = event
            elif event.status == "changed":
                self._changes.setdefault(event.host, []).append(event.task)
        elif isinstance(event, HostStarted):
            self._running[event.host] = event.task
        elif isinstance(event, TaskStarted):
            self._task = event.task
        elif isinstance(event, Message):
            self._words.append(event)
        elif isinstance(event, Stats):
            self._stats = event

    @property
    def has_ended(self) -> bool:
        """Whether Ansible came to the end of the playbook and counted."""
        return self._stats is not None

    @property
    def running(self) -> Mapping[str, str]:
        """Hosts at work on a task, and which."""
        return dict(self._running)

    @property
    def last_words(self) -> str:
        """What Ansible said at the end outside any host's result, errors before all else."""
        errors = [message.text for message in self._words if message.level == "error"]
        lines = [message.text for message in self._words]
        # Before Ansible has its callbacks, an error comes line by line.
        first = next((i for i, line in enumerate(lines) if line.startswith("[ERROR]")), -LAST_WORDS)
        return "\n".join(errors or lines[first:][:LAST_WORDS])

    def outcome(self) -> Outcome:
        """How the run ended for every host; :attr:`has_ended` must be true."""
        return Outcome({host.name: host for host in self._outcomes()})

    def _outcomes(self) -> Iterator[HostOutcome]:
        counted = self._stats.hosts if self._stats else {}
        for name in dict.fromkeys([*self._hosts, *counted]):
            stats = counted.get(name)
            yield self._not_attempted(name) if stats is None else self._ended(name, stats)

    def _ended(self, name: str, stats: HostStats) -> HostOutcome:
        results = self._results.get(name, {})
        if not (stats.failures or stats.dark):
            return HostOutcome(name, ok=True, changed=stats.changed, results=results)
        failure = self._failures.get(name, HostResult(name, self._task, "failed"))
        diagnose = ssh_words.unreachable if stats.dark else ssh_words.failed
        cause, remedy = diagnose(failure.message)
        return HostOutcome(
            name,
            ok=False,
            changed=stats.changed,
            failed=not stats.dark,
            unreachable=bool(stats.dark),
            message=failure.message,
            task=failure.task,
            cause=cause,
            remedy=remedy,
            changes=tuple(self._changes.get(name, ())),
            results=results,
        )

    def _not_attempted(self, name: str) -> HostOutcome:
        failed = sorted(self._failures)
        because = f" after it failed on {', '.join(failed)}" if failed else ""
        return HostOutcome(
            name,
            ok=False,
            failed=True,
            message=f"Ansible ran no task on this host{because}.",
            cause=Cause.NOT_ATTEMPTED,
            remedy="Run the command again for this host."
            if failed
            else "See which hosts the playbook's plays are for.",
        )
