"""``gpuhost checks``."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby

import click

from gpuhost.commands.common import InOrder
from gpuhost.commands.completion import checks as check_names
from gpuhost.errors import ExitCode

SECTION_WIDTH = 12


@click.group(cls=InOrder)
def checks() -> None:
    """The checks that `verify` makes."""


@checks.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def checks_list(as_json: bool) -> ExitCode:
    """List every check by area, with the smallest suite that makes it."""
    from gpuhost.checks import catalog

    infos = catalog()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in infos], indent=2, default=list))
        return ExitCode.OK
    width = max(len(info.name) for info in infos)
    for area, members in groupby(infos, lambda info: info.area):
        click.secho(area, bold=True)
        for info in members:
            click.echo(f"  {info.name:<{width}}  {info.suite:<8}  {info.title}")
    return ExitCode.OK


@checks.command("explain")
@click.argument("name", shell_complete=check_names)
def checks_explain(name: str) -> ExitCode:
    """Say what a check looks at, why it matters and what to do about it."""
    from gpuhost.checks.registry import SECTION_WORDS, SUITES, select

    (found,) = select([name])
    info = found.info
    suites = SUITES[SUITES.index(info.suite) :]
    click.echo(f"{click.style(info.name, bold=True)}  {info.title}")
    _paragraph("Why it matters", info.why)
    _paragraph("What to do", info.mend)
    click.echo("\nWhat it looks at")
    for section in info.needs:
        click.echo(f"  {section:<{SECTION_WIDTH}}  {SECTION_WORDS[section]}")
    if info.trials:
        click.echo(f"  {'trials':<{SECTION_WIDTH}}  {', '.join(info.trials)}")
    click.echo(f"\nIn the suites {', '.join(suites)}. Alone: gpuhost verify HOST --check {name}")
    return ExitCode.OK


def _paragraph(title: str, text: str) -> None:
    click.echo(f"\n{title}")
    click.echo(click.wrap_text(text, 96, "  ", "  "))
