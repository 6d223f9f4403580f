"""``docs/cli.md``: every command with its options, made from the commands themselves.

``python -m gpuhost.cli_docs`` writes it anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from gpuhost.cli import cli

PATH = Path(__file__).parents[1] / "docs" / "cli.md"
_MARK = (
    "<!-- Made from the commands by `python -m gpuhost.cli_docs`; changes made here are lost. -->"
)
# click's sign for a paragraph whose lines stay as they are.
_AS_IT_IS = "\b\n"


def render() -> str:
    """The page, as Markdown."""
    root = _context(cli, None, "gpuhost")
    parts = ["# Commands", _MARK, *_text(cli), *_options(cli, root)]
    for context in _commands(root):
        parts += [f"## {context.command_path}", f"`{_usage(context)}`"]
        parts += [*_text(context.command), *_options(context.command, context)]
    parts += [
        "## Exit codes",
        *_paragraphs((cli.epilog or "").strip("\n").replace("Exit codes:\n", "")),
    ]
    return "\n\n".join(parts) + "\n"


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    settings = command.context_settings
    return click.Context(command, parent=parent, info_name=name, **settings)


def _commands(group: click.Context) -> Iterator[click.Context]:
    """Every command, a group before its own; in the order in which `--help` lists them."""
    assert isinstance(group.command, click.Group)  # noqa: S101
    for name in group.command.list_commands(group):
        context = _context(group.command.commands[name], group, name)
        yield context
        if isinstance(context.command, click.Group):
            yield from _commands(context)


def _usage(context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return " ".join([context.command_path, *pieces])


def _text(command: click.Command) -> Iterator[str]:
    return _paragraphs(inspect.cleandoc(command.help or ""))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(_AS_IT_IS):
            yield f"```text\n{paragraph.removeprefix(_AS_IT_IS)}\n```"
        elif paragraph:
            yield " ".join(paragraph.split())


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    found = [p for p in command.get_params(context) if "--help" not in p.opts]
    records = [record for record in (p.get_help_record(context) for p in found) if record]
    # An argument is in the usage already, and has no words of its own.
    lines = [f"- `{names}`: {' '.join(words.split())}" for names, words in records if words]
    if lines:
        yield "\n".join(lines)


if __name__ == "__main__":
    PATH.write_text(render())
