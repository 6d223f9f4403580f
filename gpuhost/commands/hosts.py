"""``gpuhost hosts``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import common_options, flags
from gpuhost.commands.completion import hosts_and_groups
from gpuhost.errors import ExitCode

if TYPE_CHECKING:
    from gpuhost.inventory import Host
    from gpuhost.model import Desired


@click.command()
@click.argument("patterns", nargs=-1, metavar="[HOST...]", shell_complete=hosts_and_groups)
@common_options
def hosts(patterns: tuple[str, ...], as_json: bool, **options: Any) -> ExitCode:
    """List the inventory's hosts with what each is declared to be."""
    from gpuhost import settings as settings_room
    from gpuhost.targets import inventories, resolve

    settings = settings_room.load(flags(options))
    listed: list[tuple[Path, Host, Desired]] = []
    for path in inventories(settings):
        narrowed = settings_room.load({**flags(options), "inventory": path})
        targets = resolve(narrowed, patterns or ("all",), options["limit"])
        listed.extend((path, host, targets.desired[host.name]) for host in targets.hosts)
    if as_json:
        rows = [
            {"host": host.name, "address": host.address, "inventory": str(path)} | asdict(desired)
            for path, host, desired in listed
        ]
        click.echo(json.dumps(rows, indent=2))
        return ExitCode.OK
    for path, host, desired in listed:
        gpus = f"{desired.gpu_count} × {desired.gpu_model or 'GPU'}" if desired.gpu_count else "–"
        drained = "  drained" if desired.drained else ""
        click.echo(f"{host.name:<16} {host.address:<16} {gpus:<32} {path}{drained}")
    return ExitCode.OK
