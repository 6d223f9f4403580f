"""The report as one HTML file: no script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from jinja2 import Environment, PackageLoader

from gpuhost.history.records import Trends
from gpuhost.model import CheckResult, HostReport, RunReport, Verdict, worst_verdict
from gpuhost.report.causes import DETAILED, of_one_cause
from gpuhost.report.drawings import Spark, figures, partition_map, spark, words

TEMPLATE = "report.html.j2"
MARKS = {
    Verdict.PASS: "✓",
    Verdict.SKIP: "–",
    Verdict.WARN: "!",
    Verdict.UNKNOWN: "?",
    Verdict.FAIL: "✗",
}


@dataclass(frozen=True)
class Row:
    """One host in the map of hosts and checks.

    A cell is None where the host has no such check; with each goes whether an
    area begins there.
    """

    host: HostReport
    cells: Sequence[tuple[CheckResult | None, bool]]


@dataclass(frozen=True)
class Course:
    """One host in the trends; None where it has no such figure."""

    host: str
    sparks: Sequence[Spark | None]


def write(report: RunReport, stream: TextIO, trends: Mapping[str, Trends] | None = None) -> None:
    """Write the page; ``trends`` are figures of earlier runs and this one, by host."""
    environment = Environment(
        loader=PackageLoader("gpuhost.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    checks = check_names(report)
    kinds, courses = _courses(trends or {})
    for part in environment.get_template(TEMPLATE).generate(
        report=report,
        verdict=worst_verdict(host.verdict for host in report.hosts),
        started=_moment(report.started),
        areas=_areas(checks),
        rows=[Row(host, _cells(host, checks)) for host in report.hosts],
        kinds=[words(kind) for kind in kinds],
        courses=courses,
        maps={h.host: partition_map(h.partition) for h in report.hosts if h.partition},
        marks=MARKS,
        detailed=DETAILED,
        of_one_cause=of_one_cause,
        counts=[(v, sum(host.verdict is v for host in report.hosts)) for v in reversed(Verdict)],
    ):
        stream.write(part)


def _courses(trends: Mapping[str, Trends]) -> tuple[Sequence[str], Sequence[Course]]:
    """The kinds of figures and each host's course of them; nothing where all is of one run."""
    runs = {
        point.started for each in trends.values() for points in each.values() for point in points
    }
    if len(runs) < 2:  # noqa: PLR2004  (a course takes two)
        return [], []
    kinds = figures(trends.values())
    return kinds, [
        Course(host, [spark(each, kind) for kind in kinds]) for host, each in trends.items() if each
    ]


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


def _cells(host: HostReport, checks: Sequence[str]) -> list[tuple[CheckResult | None, bool]]:
    by_name = {result.check: result for result in host.results}
    areas: dict[str, list[str]] = {}
    for name in checks:
        areas.setdefault(name.partition(".")[0], []).append(name)
    return [(by_name.get(n), n is names[0]) for names in areas.values() for n in names]


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC")
