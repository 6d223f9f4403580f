"""Reports of made-up nights, for tests of what is kept and compared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from gpuhost import runs
from gpuhost.errors import ExitCode
from gpuhost.model import CheckResult, HostReport, RunReport, Verdict

FIRST = datetime(2026, 11, 1, 2, 30, tzinfo=UTC)
Verdicts = Mapping[str, str]


def host_report(
    name: str,
    verdicts: Verdicts,
    facts: Mapping[str, str] | None = None,
    measures: Mapping[str, float] | None = None,
) -> HostReport:
    """A host with these verdicts by check; ``error`` stands for one that could not be reached."""
    if "error" in verdicts:
        return HostReport(
            name,
            error=verdicts["error"],
            error_remedy="Switch it on.",
            error_code=ExitCode.UNREACHABLE,
        )
    results = tuple(
        CheckResult(check, Verdict(verdict), f"{check} is {verdict}")
        for check, verdict in verdicts.items()
    )
    return HostReport(name, results, facts=facts or {}, measures=measures or {})


def night(
    number: int,
    hosts: Mapping[str, Verdicts],
    *,
    facts: Mapping[str, str] | None = None,
    measures: Mapping[str, float] | None = None,
    complete: bool = True,
) -> RunReport:
    """The run of one night, counted from 1 November 2026."""
    started = (FIRST + timedelta(days=number)).isoformat(timespec="seconds")
    return RunReport(
        run_id=f"{runs.stamp(started)}-{number:06x}",
        command="nightly",
        started=started,
        finished=started,
        gpuhost_version="0.1.0",
        hosts=tuple(host_report(n, v, facts, measures) for n, v in hosts.items()),
        complete=complete,
    )
