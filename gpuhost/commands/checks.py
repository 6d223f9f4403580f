"""``gpuhost checks``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from gpuhost.commands.common import InOrder
from gpuhost.errors import ExitCode


@click.group(cls=InOrder)
def checks() -> None:
    """The checks that `verify` makes."""


@checks.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def checks_list(as_json: bool) -> ExitCode:
    """List every check with what it looks at."""
    from gpuhost.checks import catalog

    infos = catalog()
    if as_json:
        click.echo(json.dumps([asdict(info) for info in infos], indent=2, default=list))
        return ExitCode.OK
    width = max(len(info.name) for info in infos)
    for info in infos:
        click.echo(f"{info.name:<{width}}  {info.title}")
    return ExitCode.OK
