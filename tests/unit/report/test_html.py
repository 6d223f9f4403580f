from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gpuhost.model import CheckResult, HostReport, RunReport, Verdict
from gpuhost.report import WRITERS

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


def page(report: RunReport) -> tuple[str, Page]:
    stream = io.StringIO()
    WRITERS["html"](report, stream)
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
