"""``gpuhost nightly``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gpuhost.commands.common import (
    InOrder,
    begin,
    common_options,
    complain,
    finish,
    flags,
    mlflow_option,
)
from gpuhost.commands.completion import hosts_and_groups
from gpuhost.errors import ExitCode, worst

TIME = "02:30"


@click.group(cls=InOrder)
def nightly() -> None:
    """Verify all hosts every night, and be told only of what changed."""


@nightly.command("run")
@click.argument("hosts", nargs=-1, metavar="[HOST...]", shell_complete=hosts_and_groups)
@common_options
@click.option(
    "--notify",
    multiple=True,
    metavar="URL",
    help="Tell this of transitions, as Apprise writes it; may be repeated. URLs with a "
    "password belong into GPUHOST_NOTIFY or gpuhost.toml.",
)
@click.option("--keep-days", type=int, help="Forget runs that are older (default: 90).")
@click.option(
    "--textfile",
    type=click.Path(path_type=Path),
    help="Write metrics to this file, for Prometheus' node exporter.",
)
@mlflow_option
def nightly_run(hosts: tuple[str, ...], as_json: bool, **options: Any) -> ExitCode:
    """Verify HOSTs (by default all) and compare with the nights before.

    One message is sent where something became otherwise: a check that fails
    newly, one that recovered, one that flaps. Nothing is sent on a night like
    the one before. A run that meets the one before still at work is refused.
    """
    from gpuhost import nightly as use_case

    options["notify"] = options["notify"] or None
    settings, targets, ui = begin(hosts or ("all",), options)
    night = use_case.run(targets, settings, ui)
    code = finish(night.report, settings, as_json)
    return worst([code, complain(night.troubles)])


@nightly.command("install")
@click.argument("hosts", nargs=-1, metavar="[HOST...]", shell_complete=hosts_and_groups)
@click.option(
    "-i",
    "--inventory",
    type=click.Path(path_type=Path),
    help="Ansible inventory (default: the project's inventories/ folder).",
)
@click.option("--at", default=TIME, show_default=True, help="HH:MM, or a systemd calendar event.")
@click.option("--cron", is_flag=True, help="Print the line for a crontab; install nothing.")
def nightly_install(
    hosts: tuple[str, ...], inventory: Path | None, at: str, cron: bool
) -> ExitCode:
    """Run `nightly run` every night: a systemd timer, the system's with root, else yours.

    The run starts in the present folder's project and uses its gpuhost.toml.
    """
    from gpuhost import settings as settings_room
    from gpuhost import timer
    from gpuhost.targets import resolve

    settings = settings_room.load(flags({"inventory": inventory}))
    targets = resolve(settings, hosts or ("all",))
    arguments = ["--inventory", str(targets.inventory), *hosts]
    if cron:
        click.echo(timer.cron_line(arguments, settings.project, at))
        return ExitCode.OK
    place = timer.install(arguments, settings.project, at)
    service, timer_path = place.paths
    click.echo(f"{timer_path.name} is enabled; it starts {service.name} at {at}.")
    click.echo(f"  Secrets such as GPUHOST_NOTIFY go into {place.secrets} (mode 0600).")
    click.echo("  See what it did:  gpuhost nightly status, gpuhost status")
    if place.options:
        click.echo("  Let it run while you are logged out:  loginctl enable-linger")
    return ExitCode.OK


@nightly.command("remove")
def nightly_remove() -> ExitCode:
    """Remove the timer; what earlier runs kept stays."""
    from gpuhost import timer

    removed = timer.remove()
    click.echo("The timer is removed." if removed else "There is no timer to remove.")
    return ExitCode.OK


@nightly.command("status")
def nightly_status() -> ExitCode:
    """Show when the timer runs next, and how its last run ended."""
    from gpuhost import timer

    shown = timer.status()
    click.echo(shown or "No timer is installed. Install one with: gpuhost nightly install")
    return ExitCode.OK
