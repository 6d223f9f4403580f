"""What the history hands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gpuhost.errors import ExitCode
from gpuhost.model import Verdict

# Stands for the host as a whole where it could not be examined, as in the JUnit report.
HOST = "host"
BAD = frozenset((Verdict.WARN, Verdict.UNKNOWN, Verdict.FAIL))


@dataclass(frozen=True)
class RunRecord:
    """One run of a command. ``complete`` means that no check was left out on request."""

    run_id: str
    command: str
    started: str
    finished: str
    complete: bool
    exit_code: ExitCode


@dataclass(frozen=True)
class Point:
    """One figure of a host: when its run began (ISO 8601, UTC), and what it was."""

    started: str
    value: float


# Every figure of one host over time, by name, oldest first.
Trends = Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class Examination:
    """What one run found on one host.

    ``verdicts`` and ``summaries`` are by check; a host that could not be
    examined has one under ``host``.
    """

    host: str
    run: RunRecord
    verdict: Verdict
    exit_code: ExitCode
    error: str = ""
    remedy: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    summaries: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_full_pass(self) -> bool:
        """Whether every check was made and none spoke against the host; a warning does not."""
        return self.run.complete and self.exit_code is ExitCode.OK

    @property
    def bad(self) -> Mapping[str, Verdict]:
        """The checks that did not come out well."""
        return {check: verdict for check, verdict in self.verdicts.items() if verdict in BAD}
