"""The pages of the documentation: the commands that they tell to type, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from gpuhost.cli import cli

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
PAGES = sorted([PROJECT / "README.md", *DOCS.rglob("*.md")])
# What can be typed in the lab, and what takes a machine that is not there.
TRIED = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```(?:console|shell-session)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A script of the reader's, whose first line is its name.
SCRIPT = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"# exits with (\d+)$")
CHANGING = re.compile(r"\d+")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(gpuhost [^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
OPERATORS = (";", "|", "||", "&", "&&", ">", ">>", "<", "2>", ")")
# In text a command may stand for several, or with words left out.
SHORTENED = re.compile(r"[…|\[]|\.\.\.")


@dataclass
class Step:
    """A command of a page, with what the page says of it: exit code, and some of the output."""

    command: str
    code: int = 0
    output: list[str] = field(default_factory=list)

    def missing(self, printed: str) -> list[str]:
        """The lines that were not printed, figures apart; ``…`` ends one whose rest is left out."""
        lines = [CHANGING.sub("0", line.strip()) for line in printed.splitlines()]
        return [line for line in self.output if not _is_among(CHANGING.sub("0", line), lines)]


def _is_among(wanted: str, lines: list[str]) -> bool:
    begin, _, end = wanted.strip().partition("…")
    return any(line.startswith(begin) and line.endswith(end) for line in lines)


def files(page: Path) -> dict[str, str]:
    """The scripts that a page has the reader write."""
    return dict(SCRIPT.findall(page.read_text()))


def steps(page: Path) -> list[Step]:
    """The commands of a page that can be tried in the lab, in its order."""
    found: list[Step] = []
    for block in TRIED.findall(page.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                code = EXITS.search(line)
                found.append(Step(line.removeprefix("$ "), int(code[1]) if code else 0))
            elif line:
                found[-1].output.append(line)
    return found


def typed(page: Path) -> list[str]:
    """The command lines of a page: what follows ``$`` in its console blocks."""
    lines = [line for block in CONSOLE.findall(page.read_text()) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def mentioned(page: Path) -> list[str]:
    """The gpuhost commands in a page's text."""
    text = FENCED.sub("", page.read_text())
    return [found for found in INLINE.findall(text) if not SHORTENED.search(found)]


def gpuhost_commands(line: str) -> Iterator[list[str]]:
    """The words after ``gpuhost`` of each gpuhost command in a line for the shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word in OPERATORS:
            if command[:1] == ["gpuhost"]:
                yield command[1:]
            command = []
        else:
            command.append(word.removeprefix("$("))


def parse(words: list[str], command: click.Command = cli, name: str = "gpuhost") -> None:
    """Parse a command line as gpuhost would, without running it.

    Raises:
        click.UsageError: gpuhost would refuse it.
    """
    _parse(list(words), command, name, None)


def _parse(
    words: list[str], command: click.Command, name: str, parent: click.Context | None
) -> None:
    try:
        context = command.make_context(name, words, parent=parent)
    except click.exceptions.Exit:  # --help, --version
        return
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        found_name, found, remaining = command.resolve_command(context, rest)
        assert found is not None
        _parse(remaining, found, found_name or "", context)


def check_mention(words: list[str]) -> None:
    """Look for the commands and options of a line in text, which may lack arguments.

    Raises:
        click.UsageError: there is no such command or option.
    """
    context = click.Context(cli, info_name="gpuhost")
    for word in words:
        command = context.command
        if isinstance(command, click.Group) and not word.startswith("-"):
            _, found, _ = command.resolve_command(context, [word])
            assert found is not None
            context = click.Context(found, parent=context, info_name=word)
        elif word.startswith("--"):
            known = {option for param in command.get_params(context) for option in param.opts}
            if word.partition("=")[0] not in known:
                raise click.NoSuchOption(word, ctx=context)


def anchors(page: Path) -> set[str]:
    """What a link may end in: the headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links of a page, inside the project, that lead nowhere."""
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        is_there = target.exists() and target.is_relative_to(PROJECT)
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken
