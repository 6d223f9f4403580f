"""What the commands share: options, how one begins and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.completion import hosts_and_groups
from gpuhost.errors import ExitCode

if TYPE_CHECKING:
    from gpuhost.model import RunReport
    from gpuhost.settings import Settings
    from gpuhost.targets import Targets
    from gpuhost.ui import Ui

Command = Callable[..., Any]
SETTINGS = ("inventory", "forks", "keep_days", "notify", "textfile", "mlflow")


def hosts_argument(command: Command) -> Command:
    """HOST…, in Ansible's pattern syntax, at least one."""
    return click.argument(
        "hosts", nargs=-1, required=True, metavar="HOST...", shell_complete=hosts_and_groups
    )(command)


def common_options(command: Command) -> Command:
    """The options of every command that works on hosts."""
    options = (
        click.option(
            "-i",
            "--inventory",
            type=click.Path(path_type=Path),
            help="Ansible inventory (default: the project's inventories/ folder).",
        ),
        click.option(
            "-l",
            "--limit",
            metavar="PATTERN",
            help="Of HOST..., only those that also match this.",
            shell_complete=hosts_and_groups,
        ),
        click.option("--forks", type=int, help="Hosts worked on at once (default: 10)."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, only the result."),
        click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def batch_options(command: Command) -> Command:
    """How a fleet is gone through: see :class:`gpuhost.rollout.Strategy`."""
    for option in (
        click.option(
            "--max-failures",
            type=click.IntRange(min=1),
            metavar="N",
            help="Start no further batch once N hosts have failed.",
        ),
        click.option(
            "--canary", is_flag=True, help="One host first; the others only if it comes through."
        ),
        click.option(
            "--serial",
            metavar="N[%],...",
            default="",
            help="Hosts a batch, each done before the next: 5, 10%, or 1,5,25%. A batch of which "
            "every host fails ends it.",
        ),
    ):
        command = option(command)
    return command


def mlflow_option(command: Command) -> Command:
    """Where verifications are tracked."""
    return click.option(
        "--mlflow",
        metavar="URI",
        help="Send each host's verification to this MLflow tracking server, as a run of the "
        "experiment gpuhost (needs gpuhost[mlflow]). Credentials belong into "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )(command)


class InOrder(click.Group):
    """A group that lists its commands in the order of their definition."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """The commands as a person meets them, not by the alphabet."""
        return list(self.commands)


def flags(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are settings."""
    return {name: options.get(name) for name in SETTINGS}


def begin(hosts: tuple[str, ...], options: dict[str, Any]) -> tuple[Settings, Targets, Ui]:
    """Settings, hosts and the progress of a command, from what was typed."""
    from gpuhost import settings as settings_room
    from gpuhost.targets import resolve
    from gpuhost.ui import choose

    settings = settings_room.load(flags(options))
    targets = resolve(settings, hosts, options["limit"])
    return settings, targets, choose(quiet=options["quiet"])


def finish(report: RunReport, settings: Settings, as_json: bool) -> ExitCode:
    """Print the report, say where it is kept, and give its exit code."""
    from gpuhost.report import WRITERS

    WRITERS["json" if as_json else "table"](report, sys.stdout)
    click.echo(f"Report and evidence: {settings.runs_dir / report.run_id}", err=True)
    return report.exit_code


def complain(troubles: Iterable[str]) -> ExitCode:
    """Print what went wrong beside the work itself; 4 where anything did."""
    code = ExitCode.OK
    for trouble in troubles:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {trouble}", err=True)
        code = ExitCode.SETUP
    return code
