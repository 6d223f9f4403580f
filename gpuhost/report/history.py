"""The history for people: runs, one host's past, a comparison, the fleet at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

from rich.table import Table
from rich.text import Text

from gpuhost.errors import ExitCode
from gpuhost.history.compare import Change, Kind
from gpuhost.history.diff import HostDiff
from gpuhost.history.records import HOST, Examination, RunRecord
from gpuhost.history.standing import Standing
from gpuhost.model import Verdict
from gpuhost.report.table import MARKS, printing

KIND_STYLES = {
    Kind.NEW: ("✗", "bold red"),
    Kind.STILL: ("✗", "red"),
    Kind.FLAPPING: ("~", "yellow"),
    Kind.FIXED: ("✓", "green"),
    Kind.UNJUDGED: ("?", "magenta"),
}
SHOWN_CHECKS = 4
BOOT = "boot"


def moment(text: str) -> str:
    """A time as reports give it (ISO 8601, UTC), in this machine's zone, to the minute."""
    if not text:
        return "never"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def write_runs(runs: Sequence[RunRecord], stream: TextIO) -> None:
    """One line a run."""
    grid = _grid()
    for run in runs:
        mark, style = _mark_of(run.exit_code)
        scope = "" if run.complete else "some checks only"
        grid.add_row(Text(mark, style), run.run_id, moment(run.started), run.command, scope)
    with printing(stream) as console:
        console.print(grid if runs else "There are no runs yet. Make one: gpuhost verify HOST")


def write_host(examinations: Sequence[Examination], stream: TextIO) -> None:
    """One line an examination, with what was bad and what had changed on the host."""
    with printing(stream) as console:
        for number, found in enumerate(examinations):
            mark, style = MARKS[found.verdict]
            line = Text.assemble((mark, style), f" {moment(found.run.started)}  ", _bad(found))
            console.print(line, soft_wrap=True)
            earlier = examinations[number + 1 : number + 2]
            for change in _changes(found, earlier):
                console.print(Text(f"    {_told(change)}", "dim"), soft_wrap=True)


def write_diff(before: str, after: str, hosts: Sequence[HostDiff], stream: TextIO) -> None:
    """Host by host, what became of the checks and which facts changed."""
    with printing(stream) as console:
        console.print(Text(f"{before} → {after}", "dim"), soft_wrap=True)
        if not hosts:
            console.print("Nothing became otherwise.")
        for host in hosts:
            console.print(Text(host.host, "bold"))
            began = dict(host.onsets)
            for found in host.transitions:
                mark, style = KIND_STYLES[found.kind]
                line = Text.assemble(
                    (f"  {mark} ", style), (found.check, "bold"), f"  {found.kind}"
                )
                if found.summary:
                    line.append(f": {first_line(found.summary)}")
                if found.kind is Kind.STILL and found.check in began:
                    since = moment(began[found.check].first_bad.run.started)
                    line.append(f"  since {since}", "dim")
                console.print(line, soft_wrap=True)
            for change in host.changes:
                console.print(Text(f"    {_told(change)}", "dim"), soft_wrap=True)


def write_status(standings: Sequence[Standing], stream: TextIO) -> None:
    """One line a host: whether it may be used, when it was verified, and what is bad since when."""
    grid = _grid()
    for found in standings:
        state, style = _state(found)
        grid.add_row(
            Text(state, style),
            Text(found.host, "bold"),
            Text(moment(found.last.run.started), "dim"),
            _failing(found),
        )
    with printing(stream) as console:
        console.print(grid if standings else "No host was verified yet: gpuhost verify HOST")
        if len(standings) > 1:
            quarantined = sum(found.quarantined for found in standings)
            console.print(f"{len(standings)} hosts, {quarantined} in quarantine")


def first_line(words: str) -> str:
    """The first of several lines; what a host said of a failure can be long."""
    first, *rest = words.splitlines() or [""]
    return f"{first} …" if rest else first


def _state(found: Standing) -> tuple[str, str]:
    if found.quarantined:
        return "✗ quarantine", "bold red"
    if found.last.verdict is Verdict.WARN:
        return "! usable", "yellow"
    return "✓ usable", "green"


def _failing(found: Standing) -> Text:
    if not found.failing:
        if found.quarantined:
            return Text(
                f"no full pass since {moment(found.quarantined_since)}: gpuhost verify {found.host}"
            )
        return Text("")
    parts = []
    for failing in found.failing[:SHOWN_CHECKS]:
        what = first_line(failing.summary) if failing.check == HOST else failing.check
        parts.append(f"{what} since {moment(failing.since)}")
    more = len(found.failing) - SHOWN_CHECKS
    return Text("\n".join([*parts, f"and {more} more"] if more > 0 else parts))


def _bad(found: Examination) -> Text:
    if found.error:
        return Text(found.error)
    names = [f"{check} ({verdict})" for check, verdict in found.bad.items()]
    if names:
        return Text(", ".join(names))
    passed = sum(
        verdict is Verdict.PASS for check, verdict in found.verdicts.items() if check != HOST
    )
    return Text(f"{passed} checks passed", "dim")


def _changes(found: Examination, earlier: Sequence[Examination]) -> Sequence[Change]:
    from gpuhost.history.compare import changes  # noqa: PLC0415

    # Nothing was read of a host that could not be examined.
    if not earlier or not found.facts or not earlier[0].facts:
        return ()
    return changes(earlier[0].facts, found.facts)


def _told(change: Change) -> str:
    if change.fact == BOOT:
        return "rebooted"
    return f"{change.fact}: {change.before or 'none'} → {change.now or 'none'}"


def _mark_of(code: ExitCode) -> tuple[str, str]:
    verdicts = {ExitCode.OK: Verdict.PASS, ExitCode.FAILED: Verdict.FAIL}
    return MARKS[verdicts.get(code, Verdict.UNKNOWN)]


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
