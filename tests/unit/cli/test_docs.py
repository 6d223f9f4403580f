"""What the documentation tells to type is what gpuhost takes; its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from support import pages

from gpuhost import cli_docs

READMES = sorted((pages.PROJECT / "playbooks" / "roles").glob("*/README.md"))


def name(page: Path) -> str:
    return str(page.relative_to(pages.PROJECT))


@pytest.fixture(autouse=True)
def _any_folder_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    # The pages name folders of the reader's.
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, *_: value)


def test_the_reference_of_the_commands_is_up_to_date() -> None:
    assert cli_docs.PATH.read_text() == cli_docs.render(), (
        "write docs/cli.md anew: python -m gpuhost.cli_docs"
    )


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_every_command_that_a_page_tells_to_type_is_one_that_gpuhost_takes(page: Path) -> None:
    for line in pages.typed(page):
        for words in pages.gpuhost_commands(line):
            try:
                pages.parse(words)
            except click.UsageError as error:
                pytest.fail(f"{name(page)}: {line}\n{error.format_message()}")


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_every_command_that_a_page_mentions_exists_with_its_options(page: Path) -> None:
    for mention in pages.mentioned(page):
        try:
            for words in pages.gpuhost_commands(mention):
                pages.check_mention(words)
        except click.UsageError as error:
            pytest.fail(f"{name(page)}: {mention}\n{error.format_message()}")


@pytest.mark.parametrize("page", [*pages.PAGES, *READMES], ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert pages.broken_links(page) == []


def test_every_page_is_in_the_index() -> None:
    index = (pages.DOCS / "README.md").read_text()
    missing = [
        page.name
        for page in pages.DOCS.glob("*.md")
        if page.name != "README.md" and f"({page.name})" not in index
    ]
    assert missing == []


@pytest.mark.parametrize(
    "line",
    [
        "gpuhost verify lab-01 --checks gpu.count",
        "gpuhost verify lab-01 --suite quickly",
        "gpuhost verifi lab-01",
        "echo x | gpuhost nightly run --keep 3",
        "gpuhost plan",
        "true && gpuhost nightly instal",
    ],
)
def test_a_command_line_with_something_renamed_in_it_is_found(line: str) -> None:
    (words,) = pages.gpuhost_commands(line)
    with pytest.raises(click.UsageError):
        pages.parse(words)


@pytest.mark.parametrize("mention", ["gpuhost verify --form", "gpuhost nightli", "gpuhost lab upp"])
def test_a_mention_with_something_renamed_in_it_is_found(mention: str) -> None:
    with pytest.raises(click.UsageError):
        pages.check_mention(mention.split()[1:])


def test_a_comment_and_what_follows_a_pipe_belong_to_no_command() -> None:
    line = "gpuhost verify 'a:!b' --json | jq .hosts # gpuhost nonsense"
    assert list(pages.gpuhost_commands(line)) == [["verify", "a:!b", "--json"]]
