"""The report as one HTML file: no script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import TextIO

from jinja2 import Environment

from gpuhost.model import CheckResult, HostReport, RunReport, Verdict, worst_verdict

TEMPLATE = "report.html.j2"
MARKS = {
    Verdict.PASS: "✓",
    Verdict.SKIP: "–",
    Verdict.WARN: "!",
    Verdict.UNKNOWN: "?",
    Verdict.FAIL: "✗",
}
DETAILED = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.WARN)


@dataclass(frozen=True)
class Row:
    """One host in the map of hosts and checks; None where it has no such check."""

    host: HostReport
    cells: Sequence[CheckResult | None]


def write(report: RunReport, stream: TextIO) -> None:
    """Write the page."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    source = resources.files("gpuhost.report") / "templates" / TEMPLATE
    template = environment.from_string(source.read_text(encoding="utf-8"))
    checks = check_names(report)
    for part in template.generate(
        report=report,
        verdict=worst_verdict(host.verdict for host in report.hosts),
        started=_moment(report.started),
        areas=_areas(checks),
        rows=[Row(host, _cells(host, checks)) for host in report.hosts],
        marks=MARKS,
        detailed=DETAILED,
        counts=[(v, sum(host.verdict is v for host in report.hosts)) for v in reversed(Verdict)],
    ):
        stream.write(part)


def check_names(report: RunReport) -> list[str]:
    """Every check of the run, in the order of the host that has most of them."""
    longest = sorted(report.hosts, key=lambda host: len(host.results), reverse=True)
    return list(dict.fromkeys(result.check for host in longest for result in host.results))


def _areas(checks: Sequence[str]) -> list[tuple[str, int]]:
    areas: dict[str, int] = {}
    for name in checks:
        area = name.partition(".")[0]
        areas[area] = areas.get(area, 0) + 1
    return list(areas.items())


def _cells(host: HostReport, checks: Sequence[str]) -> list[CheckResult | None]:
    by_name = {result.check: result for result in host.results}
    # By area, as the heading has them.
    areas = dict.fromkeys(name.partition(".")[0] for name in checks)
    ordered = [n for area in areas for n in checks if n.partition(".")[0] == area]
    return [by_name.get(name) for name in ordered]


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC")
