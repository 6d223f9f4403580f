"""The report for people: what is wrong in detail, what is well in a line.

Of several hosts, only those with something wrong are told in detail; a table
with a line for each comes last. A host has one heading line. Everything that
did not pass follows with what was seen, what was expected, the likely cause
and the remedy, and where one cause made several checks fail, the first of them
with the others in a line each; what passed is counted by area; what was
skipped is named with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gpuhost.model import VERDICTS_BEST_FIRST, CheckResult, HostReport, RunReport, Verdict
from gpuhost.report.causes import DETAILED, Alike, of_one_cause

MARKS = {
    Verdict.PASS: ("✓", "green"),
    Verdict.SKIP: ("–", "dim"),
    Verdict.WARN: ("!", "yellow"),
    Verdict.UNKNOWN: ("?", "magenta"),
    Verdict.FAIL: ("✗", "bold red"),
}
LABEL_WIDTH = len("expected")
HEADLINE = (("gpus", ""), ("driver", "driver "), ("docker", "docker "), ("toolkit", "toolkit "))
# Where there is no terminal to fit into, lines are left as long as they are.
UNLIMITED = 10_000


def write(report: RunReport, stream: TextIO) -> None:
    """Write the report; colours only on a terminal that wants them."""
    with printing(stream) as console:
        _write(report, console)


@contextmanager
def printing(stream: TextIO) -> Iterator[Console]:
    """A console that writes to ``stream``; elsewhere than on a terminal without padding."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        yield console
        return
    text = StringIO()
    yield Console(file=text, highlight=False, markup=False, emoji=False, width=UNLIMITED)
    stream.writelines(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _write(report: RunReport, console: Console) -> None:
    alone = len(report.hosts) == 1
    for host in report.hosts:
        if alone or (not host.skipped and host.verdict not in (Verdict.PASS, Verdict.SKIP)):
            _write_host(console, host)
    if alone:
        return
    if report.hosts:
        _write_summary(console, report.hosts)
    console.print(_total(report), soft_wrap=True)


def _write_summary(console: Console, hosts: Sequence[HostReport]) -> None:
    """A line for each host; what has to be mended stands last, where the eye is."""
    names = max(len(host.host) for host in hosts)
    verdicts = max(len(host.verdict) for host in hosts)
    for host in sorted(hosts, key=lambda host: VERDICTS_BEST_FIRST.index(host.verdict)):
        mark, style = MARKS[host.verdict]
        line = Text.assemble(
            (f"{mark} {host.verdict.ljust(verdicts)}", style),
            "  ",
            (host.host.ljust(names), "bold"),
            "  ",
            _in_a_line(host),
        )
        line.truncate(console.width, overflow="ellipsis")
        console.print(line, soft_wrap=True)
    console.print()


def _in_a_line(host: HostReport) -> Text:
    if host.skipped or host.error:
        return Text((host.skipped or host.error).splitlines()[0])
    bad = [result.check for verdict in DETAILED for result in _of(host, verdict)]
    if bad:
        return Text(", ".join(bad))
    return Text(" · ".join(_facts(host)), "dim")


def _write_host(console: Console, host: HostReport) -> None:
    console.print(_heading(host), soft_wrap=True)
    if host.error or host.skipped:
        console.print()
        kind = "error" if host.error else "skipped"
        grounds = ((kind, host.error or host.skipped), ("state", host.error_state))
        _indented(console, _grid((name, Text(words)) for name, words in grounds if words), 4)
        _write_remedy(console, host.error_remedy)
    for first, *others in of_one_cause(host):
        console.print()
        _write_detail(console, first, others)
    lines = [*_skipped(host), *_passed(host)]
    if lines:
        console.print()
        _indented(console, _marked(lines), 2)
    console.print()


def _indented(console: Console, table: Table, columns: int) -> None:
    console.print(Padding(table, (0, 0, 0, columns), expand=False))


def _heading(host: HostReport) -> Text:
    mark, style = MARKS[host.verdict]
    parts = _facts(host)
    return Text.assemble(
        (f"{mark} {host.verdict}", style),
        "  ",
        (host.host, "bold"),
        ("  " + " · ".join(parts) if parts else "", "dim"),
    )


def _facts(host: HostReport) -> list[str]:
    ran, total = host.coverage
    parts = [f"{label}{host.facts[name]}" for name, label in HEADLINE if host.facts.get(name)]
    if total:
        parts.append(f"{ran} of {total} ran")
    if host.duration_s:
        parts.append(f"{host.duration_s:.1f} s")
    return parts


def _write_detail(console: Console, results: Alike, others: Sequence[Alike]) -> None:
    first = results[0]
    _indented(console, _marked([_title(results)]), 2)
    expected = "\n".join(dict.fromkeys(result.expected for result in results))
    grounds = (("seen", first.seen), ("expected", expected), ("cause", first.cause))
    _indented(console, _grid((name, Text(words)) for name, words in grounds if words), 4)
    _write_remedy(console, first.remedy)
    if others:
        _indented(console, _grid([("so also", _marked(_title(alike) for alike in others))]), 4)


def _title(results: Alike) -> tuple[Text, Text]:
    mark, style = MARKS[results[0].verdict]
    names = ", ".join(result.check for result in results)
    return Text(mark, style), Text.assemble((names, "bold"), "  ", (results[0].summary, style))


def _write_remedy(console: Console, remedy: str) -> None:
    """A command has to be copied in one piece: the terminal breaks its lines, not we."""
    for number, line in enumerate(remedy.splitlines()):
        label = "remedy" if number == 0 else ""
        text = Text.assemble(" " * 4, (label.ljust(LABEL_WIDTH), "dim"), "  ", (line, "cyan"))
        console.print(text, soft_wrap=True)


def _marked(lines: Iterable[tuple[Text, Text]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mark, text in lines:
        table.add_row(mark, text)
    return table


def _grid(rows: Iterable[tuple[str, Text | Table]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=LABEL_WIDTH)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, text)
    return table


def _skipped(host: HostReport) -> list[tuple[Text, Text]]:
    """One line a reason, with the checks that it kept from running."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for result in _of(host, Verdict.SKIP):
        reasons[result.summary].append(result.check)
    mark, style = MARKS[Verdict.SKIP]
    return [
        (Text(mark, style), Text(f"{', '.join(checks)}  {reason}", style))
        for reason, checks in reasons.items()
    ]


def _passed(host: HostReport) -> list[tuple[Text, Text]]:
    areas = Counter(result.check.partition(".")[0] for result in _of(host, Verdict.PASS))
    if not areas:
        return []
    counts = " · ".join(f"{area} {number}" for area, number in areas.items())
    mark, style = MARKS[Verdict.PASS]
    return [(Text(mark, style), Text.assemble(f"{areas.total()} passed  ", (counts, "dim")))]


def _of(host: HostReport, verdict: Verdict) -> list[CheckResult]:
    return [result for result in host.results if result.verdict is verdict]


def _total(report: RunReport) -> Text:
    if not report.hosts:
        return Text("0 hosts: nothing was examined", "bold")
    verdicts = Counter(host.verdict for host in report.hosts)
    line = Text(f"{len(report.hosts)} hosts: ", "bold")
    for number, verdict in enumerate(v for v in MARKS if v in verdicts):
        line.append(", " if number else "")
        line.append(f"{verdicts[verdict]} {verdict}", MARKS[verdict][1])
    return line
