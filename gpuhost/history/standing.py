"""How a host stands: its last examination, what is bad since when, and whether it is quarantined.

Pure. A host that failed is in quarantine until it passes every check again:
a single check that is made again and passes does not bring it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuhost.errors import ExitCode
from gpuhost.history.compare import onset
from gpuhost.history.records import Examination


@dataclass(frozen=True)
class Failing:
    """A check that is bad now: its words, and the start of the run in which that began."""

    check: str
    summary: str
    since: str


@dataclass(frozen=True)
class Standing:
    """How one host stands. Times are ISO 8601, UTC; empty where there is none.

    ``quarantined_since`` is the start of the run that put the host into
    quarantine, and empty where the host may be used.
    """

    host: str
    last: Examination
    last_full_pass: str
    quarantined_since: str
    failing: tuple[Failing, ...]

    @property
    def quarantined(self) -> bool:
        """Whether work should be kept away from the host."""
        return bool(self.quarantined_since)


def standing(newest_first: Sequence[Examination]) -> Standing:
    """How the host of these examinations (at least one) stands."""
    last = newest_first[0]
    passes = (e.run.started for e in newest_first if e.is_full_pass)
    return Standing(
        host=last.host,
        last=last,
        last_full_pass=next(passes, ""),
        quarantined_since=_quarantined_since(newest_first),
        failing=tuple(_failing(check, newest_first) for check in last.bad),
    )


def _quarantined_since(newest_first: Sequence[Examination]) -> str:
    """The first failure after the last full pass; a host that never passed is quarantined, too."""
    since = ""
    for examination in newest_first:
        if examination.is_full_pass:
            break
        if examination.exit_code is not ExitCode.OK:
            since = examination.run.started
    else:
        since = since or newest_first[-1].run.started
    return since


def _failing(check: str, newest_first: Sequence[Examination]) -> Failing:
    began = onset(check, newest_first)
    last = newest_first[0]
    since = began.first_bad.run.started if began else last.run.started
    return Failing(check, last.summaries.get(check, ""), since)
