"""``gpuhost rollback``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import batch_options, begin, common_options, finish
from gpuhost.commands.completion import hosts_and_groups
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.rollback import Planned
    from gpuhost.targets import Targets

COMPONENTS = ("driver", "docker", "toolkit")


@click.command()
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="HOST... [driver|docker|toolkit]",
    shell_complete=hosts_and_groups,
)
@common_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing hosts.")
@batch_options
@click.option("--include-busy", is_flag=True, help="Also hosts whose GPUs are in use.")
def rollback(words: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> ExitCode:
    """Take HOSTs back to the versions from before the last change, and prove it.

    What the last run changed is on record on each host: all of it is taken
    back, or only the components named. Again, and the change before that is.
    Shows the versions and asks first; a host whose repositories no longer have
    the earlier version is not touched.

    \b
    Examples:
      gpuhost rollback gpu-01
      gpuhost rollback rack4 driver --yes --canary
    """
    from gpuhost import rollback as use_case
    from gpuhost.rollout import Strategy

    strategy = Strategy.of(options["serial"], options["canary"], options["max_failures"])
    hosts = tuple(word for word in words if word not in COMPONENTS)
    only = tuple(word for word in COMPONENTS if word in words)
    if not hosts:
        raise click.UsageError("Name a host.")
    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui, only)
    _show(planned)
    ready = planned.ready(include_busy=options["include_busy"])
    if ready and not yes:
        _confirm([one.host for one in ready])
    report = use_case.rollback(
        targets,
        settings,
        ui,
        planned,
        strategy=strategy,
        include_busy=options["include_busy"],
    )
    code = finish(report, settings, as_json)
    _show_lines_to_keep(targets, planned, {one.host for one in ready})
    return code


def _show(planned: Planned) -> None:
    from gpuhost.rollback_plan import words

    for one in planned.rollbacks.values():
        if not one.steps:
            continue
        click.echo(f"{click.style(one.host, bold=True)} would go back:", err=True)
        for line in words(one.steps):
            click.echo(f"  {line}", err=True)
        reboot = f"yes, {one.reboot}" if one.reboot else "no"
        click.echo(f"  {'reboot':<8} {reboot}", err=True)


def _confirm(names: list[str]) -> None:
    from gpuhost.rollout import shortened

    what = f"take back {shortened(names)}"
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}, and there is no terminal to ask.", "Add --yes.")
    click.confirm(f"This will {what}. Go on?", abort=True, err=True)


def _show_lines_to_keep(targets: Targets, planned: Planned, names: set[str]) -> None:
    """What the inventory has to say, or the next provisioning may undo it."""
    from gpuhost.rollback_plan import lines_to_keep

    for host in targets.hosts:
        lines = (
            lines_to_keep(planned.rollbacks[host.name], host.variables)
            if host.name in names
            else []
        )
        if lines:
            click.echo(f"So that {host.name} stays there, write into the inventory:", err=True)
        for line in lines:
            click.echo(f"  {line}", err=True)
