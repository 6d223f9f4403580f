"""What became otherwise between two runs, host by host."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gpuhost.history.compare import Change, Onset, Transition, changes, onset, transitions
from gpuhost.history.records import Examination
from gpuhost.history.store import History


@dataclass(frozen=True)
class HostDiff:
    """What became of one host: its checks, its facts, and since when what is bad is so."""

    host: str
    transitions: tuple[Transition, ...]
    changes: tuple[Change, ...]
    onsets: tuple[tuple[str, Onset], ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON's own types."""
        began = dict(self.onsets)
        return {
            "host": self.host,
            "checks": [
                {
                    "check": found.check,
                    "kind": str(found.kind),
                    "before": found.before,
                    "now": str(found.now),
                    "summary": found.summary,
                    "first_bad": began[found.check].first_bad.run.run_id
                    if found.check in began
                    else None,
                }
                for found in self.transitions
            ],
            "facts": [asdict(change) for change in self.changes],
        }


def between(history: History, before: str, after: str) -> tuple[HostDiff, ...]:
    """What became otherwise from run ``before`` to run ``after``; hosts of either, by name.

    A host that only one of the two examined has nothing to be compared with
    and is left out.
    """
    old, new = history.run(before), history.run(after)
    found = (_host_diff(history, new[name], old[name]) for name in sorted(new.keys() & old.keys()))
    return tuple(each for each in found if each.transitions or each.changes)


def _host_diff(history: History, now: Examination, then: Examination) -> HostDiff:
    newest_first = history.of_host(now.host)
    ids = [examination.run.run_id for examination in newest_first]
    until_then = newest_first[ids.index(then.run.run_id) :]
    until_now = newest_first[ids.index(now.run.run_id) :]
    found = transitions(now, until_then)
    began = ((each.check, onset(each.check, until_now)) for each in found)
    return HostDiff(
        host=now.host,
        transitions=found,
        changes=changes(then.facts, now.facts),
        onsets=tuple((check, each) for check, each in began if each),
    )
