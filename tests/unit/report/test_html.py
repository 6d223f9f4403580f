from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gpuhost.history.records import Point, Trends
from gpuhost.model import CheckResult, HostReport, RunReport, Sight, Verdict
from gpuhost.report import html

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """What a browser makes of the page: its words, its tags, and whether each was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.titles: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(report: RunReport, trends: Mapping[str, Trends] | None = None) -> tuple[str, Page]:
    stream = io.StringIO()
    html.write(report, stream, trends)
    return stream.getvalue(), Page(stream.getvalue())


def test_everything_that_did_not_pass_is_told_with_its_grounds(
    run: RunReport, ill: HostReport
) -> None:
    _, found = page(run)
    for result in ill.results:
        if result.verdict in (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN):
            for words in (result.summary, result.seen, result.expected, result.remedy):
                assert " ".join(words.split()) in found.text
    assert "No route to host" in found.text


def test_the_map_has_a_cell_for_each_check_of_each_host(
    run: RunReport, well: HostReport, ill: HostReport
) -> None:
    _, found = page(run)
    assert len(found.titles) == len(well.results) + len(ill.results)


def test_the_partition_map_has_a_place_for_each_container_of_each_host(
    run: RunReport, well: HostReport, ill: HostReport
) -> None:
    text, found = page(run)
    assert found.text.count("Which container saw which GPU") == 2
    assert well.partition is not None
    assert ill.partition is not None
    containers = len(well.partition.containers) + len(ill.partition.containers)
    assert text.count('<rect class="band"') == containers


def test_a_container_that_saw_too_much_is_marked_and_told(run: RunReport, well: HostReport) -> None:
    assert well.partition is not None
    leak = Sight("cdi/none", (), ("GPU-b",), Verdict.FAIL, "sees GPU-b", "docker run …")
    partition = replace(well.partition, containers=(leak,))
    text, found = page(replace(run, hosts=(replace(well, partition=partition),)))
    assert '<rect class="bad"' in text
    assert "✗ cdi/none sees GPU-b" in found.text
    assert "0 of 1 as asked" in found.text


def test_the_map_comes_before_the_findings_only_where_it_shows_one(
    run: RunReport, ill: HostReport
) -> None:
    assert ill.partition is not None
    leak = Sight("cdi/none", (), ("GPU-b",), Verdict.FAIL, "sees GPU-b")
    leaking = replace(ill, partition=replace(ill.partition, containers=(leak,)))
    for host, first in ((ill, False), (leaking, True)):
        _, found = page(replace(run, hosts=(host,)))
        before = found.text.index("Which container") < found.text.index("cdi.matches")
        assert before is first


def test_trends_are_drawn_from_two_runs_on(run: RunReport) -> None:
    first, second = Point("2026-11-21", 40.0), Point("2026-11-22", 44.0)
    alone: Mapping[str, Trends] = {"lab-01": {"gpu0.temperature_c": (first,)}}
    both: Mapping[str, Trends] = {"lab-01": {"gpu0.temperature_c": (first, second)}, "lab-03": {}}
    assert "Trends" not in page(run, alone)[1].text
    text, found = page(run, both)
    assert "Trends temperature lab-01" in found.text
    assert "44 °C" in found.text
    assert text.count("<polyline") == 1
    assert found.open == []


def test_a_host_that_was_not_examined_says_why_in_the_map(run: RunReport) -> None:
    _, found = page(run)
    assert found.text.count("No route to host") == 2


def test_the_page_is_whole_and_loads_nothing(run: RunReport) -> None:
    text, found = page(run)
    assert found.open == []
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert "http://" not in text
    assert "https://" not in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("hosts", [(), None])
def test_a_run_without_hosts_or_checks_is_a_page_too(
    run: RunReport, away: HostReport, hosts: tuple[()] | None
) -> None:
    _, found = page(replace(run, hosts=(away,) if hosts is None else hosts))
    assert found.open == []


def test_what_a_host_printed_is_no_markup(run: RunReport) -> None:
    evil = "<script>alert(1)</script> & \"'"
    result = CheckResult("smi.output", Verdict.FAIL, evil, evil, evil, evil, evil)
    text, found = page(replace(run, hosts=(HostReport("a", (result,)),)))
    assert "<script" not in text
    assert evil in found.text


def test_what_one_cause_spoiled_is_told_once_and_the_rest_is_folded_away(
    run: RunReport, ill: HostReport
) -> None:
    (first,) = (r for r in ill.results if r.check == "cdi.matches")
    other = replace(first, check="partition.cdi", summary="refused: 3 of 4", seen="other words")
    text, _ = page(replace(run, hosts=(replace(ill, results=(first, other)),)))
    in_full, _, rest = text.partition('<details class="inner also">')
    folded = rest.partition("</details>")[0]
    assert "so also" in folded
    assert "other words" in folded
    assert "other words" not in in_full
    assert first.cause in in_full
