"""The command line. The only place that prints results and the only place that exits.

Heavy imports stay inside the commands, so that ``gpuhost --help`` is quick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from gpuhost import __version__
from gpuhost.errors import ExitCode, GpuhostError, UsageError, worst

if TYPE_CHECKING:
    from gpuhost.inventory import Host
    from gpuhost.model import Desired, RunReport
    from gpuhost.plan import HostPlan
    from gpuhost.provision import Planned
    from gpuhost.settings import Settings
    from gpuhost.targets import Targets
    from gpuhost.ui import Ui

EPILOG = """\b
Exit codes:
  0  all passed                    4  playbook or set-up error
  1  a host or check failed        5  a bug in gpuhost
  2  usage, configuration,       130  interrupted
     inventory                   143  terminated
  3  unreachable or UNKNOWN
"""

Command = Callable[..., Any]


def hosts_argument(command: Command) -> Command:
    """HOST…, in Ansible's pattern syntax, at least one."""
    return click.argument("hosts", nargs=-1, required=True, metavar="HOST...")(command)


def common_options(command: Command) -> Command:
    """The options of every command that works on hosts."""
    options = (
        click.option(
            "-i",
            "--inventory",
            type=click.Path(path_type=Path),
            help="Ansible inventory (default: the project's inventories/ folder).",
        ),
        click.option("--forks", type=int, help="Hosts worked on at once (default: 10)."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, only the result."),
        click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class InOrder(click.Group):
    """A group that lists its commands in the order of their definition."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """The commands as a person meets them, not by the alphabet."""
        return list(self.commands)


@click.group(
    cls=InOrder,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gpuhost")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Take bare Linux servers to GPU container hosts that are proven to work.

    \b
    Start here:
      gpuhost plan lab-01          what would change, before anything does
      gpuhost provision lab-01     driver, docker, toolkit, users; then verify
      gpuhost verify lab-01        prove that containers get the GPUs they ask for
      gpuhost lab up               a rehearsal host on this machine, no GPU needed
    """
    context.obj = {"debug": debug}


# ----------------------------------------------------------------- provisioning


@cli.command()
@hosts_argument
@common_options
def plan(hosts: tuple[str, ...], as_json: bool, **options: Any) -> ExitCode:
    """Show what `provision` would change on HOSTs; change nothing."""
    from gpuhost import provision as use_case

    settings, targets, ui = _begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    if as_json:
        _print_plans_json(planned)
    else:
        for host_plan in planned.plans.values():
            _show_plan(host_plan, err=False)
        for failure in planned.failures.values():
            click.echo(f"{failure.host}: {failure.error}\n  {failure.error_remedy}", err=True)
    unreadable = any(host_plan.unreadable for host_plan in planned.plans.values())
    codes = [failure.exit_code for failure in planned.failures.values()]
    return worst([*codes, ExitCode.UNREACHABLE] if unreadable else codes)


@cli.command()
@hosts_argument
@common_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing hosts.")
def provision(hosts: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> ExitCode:
    """Make HOSTs GPU container hosts, and prove it.

    Shows what would change, asks if a host may be rebooted or there is more
    than one, runs the roles, reboots where needed, then verifies. Running it
    again on a host that is as it should be changes nothing.

    \b
    Examples:
      gpuhost provision lab-01
      gpuhost provision 'rack4:!gpu-17' --yes
    """
    from gpuhost import provision as use_case

    settings, targets, ui = _begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    for host_plan in planned.plans.values():
        _show_plan(host_plan, err=True)
    _confirm(planned, yes)
    return _finish(use_case.provision(targets, settings, ui, planned), settings, as_json)


def _show_plan(host_plan: HostPlan, *, err: bool) -> None:
    if host_plan.is_empty:
        click.echo(f"{host_plan.host}: nothing to change", err=err)
        return
    click.echo(f"{click.style(host_plan.host, bold=True)} would change:", err=err)
    for change in host_plan.changes:
        click.echo(f"  {change.component:<8} {change.what}", err=err)
    for words in host_plan.unreadable:
        click.echo(f"  could not be read: {words}", err=err)
    reboot = f"yes, {host_plan.reboot}" if host_plan.reboot else "no"
    click.echo(f"  {'reboot':<8} {reboot}", err=err)


def _print_plans_json(planned: Planned) -> None:
    document = {
        "schema_version": 1,
        "hosts": [asdict(host_plan) for host_plan in planned.plans.values()],
        "failures": [
            {"host": f.host, "error": f.error, "remedy": f.error_remedy}
            for f in planned.failures.values()
        ],
    }
    click.echo(json.dumps(document, indent=2))


def _confirm(planned: Planned, yes: bool) -> None:
    plans = [p for p in planned.plans.values() if not p.is_empty]
    reboots = [p.host for p in plans if p.reboot]
    if yes or not (reboots or len(plans) > 1):
        return
    what = f"change {len(plans)} host{'s' if len(plans) > 1 else ''}"
    if reboots:
        what += f" and reboot {', '.join(reboots)}"
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}, and there is no terminal to ask.", "Add --yes.")
    click.confirm(f"This will {what}. Go on?", abort=True, err=True)


# ----------------------------------------------------------------- verification


@cli.command()
@hosts_argument
@common_options
@click.option(
    "--check", "names", multiple=True, metavar="NAME", help="Only this check; may be repeated."
)
def verify(
    hosts: tuple[str, ...], names: tuple[str, ...], as_json: bool, **options: Any
) -> ExitCode:
    """Prove that HOSTs are what they are declared to be.

    Reads each host once, starts containers with GPUs partitioned among them,
    and compares what each container sees with what it asked for. Only PASS
    is a pass: what could not be determined is UNKNOWN, and counts.
    """
    from gpuhost.checks.registry import select
    from gpuhost.verify import verify as use_case

    select(names)
    settings, targets, ui = _begin(hosts, options)
    return _finish(use_case(targets, settings, ui, names=names), settings, as_json)


@cli.group(cls=InOrder)
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


@cli.command()
@click.argument("patterns", nargs=-1, metavar="[HOST...]")
@common_options
def hosts(patterns: tuple[str, ...], as_json: bool, **options: Any) -> ExitCode:
    """List the inventory's hosts with what each is declared to be."""
    from gpuhost import settings as settings_room
    from gpuhost.targets import inventories, resolve

    settings = settings_room.load(_flags(options))
    listed: list[tuple[Path, Host, Desired]] = []
    for path in inventories(settings):
        narrowed = settings_room.load({**_flags(options), "inventory": path})
        targets = resolve(narrowed, patterns or ("all",))
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
        click.echo(f"{host.name:<16} {host.address:<16} {gpus:<32} {path}")
    return ExitCode.OK


# -------------------------------------------------------------------------- lab


@cli.group(cls=InOrder)
def lab() -> None:
    """Rehearsal hosts on this machine: real systemd, docker and reboots, simulated GPUs."""


@lab.command("up")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--gpus", type=click.IntRange(0, 16), default=4, show_default=True, help="GPUs each.")
@click.option("--model", default="A100", show_default=True, help="GPU model; see `lab models`.")
@click.option(
    "--os",
    "release",
    type=click.Choice(["debian12", "debian13"]),
    default="debian12",
    show_default=True,
    help="Operating system of the host.",
)
def lab_up(names: tuple[str, ...], gpus: int, model: str, release: str) -> ExitCode:
    """Start rehearsal hosts (by default lab-01) and write inventories/lab."""
    from gpuhost import lab as room
    from gpuhost.settings import find_project
    from gpuhost.ui import choose

    names = names or ("lab-01",)
    room.up(
        names,
        gpus=gpus,
        model=model,
        release=release,
        project=find_project(Path.cwd()),
        progress=choose().say,
    )
    click.echo(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} up. Next:")
    click.echo(f"  gpuhost provision {' '.join(names)}")
    return ExitCode.OK


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def lab_list(as_json: bool) -> ExitCode:
    """List the rehearsal hosts of this machine."""
    from gpuhost import lab as room

    found = room.list_hosts()
    if as_json:
        click.echo(json.dumps([asdict(host) for host in found], indent=2, default=str))
        return ExitCode.OK
    if not found:
        click.echo("There are no rehearsal hosts. Start one with: gpuhost lab up")
    for host in found:
        gpus = f"{host.gpus} × {host.model}"
        click.echo(f"{host.name:<12} {host.address:<14} {host.os:<9} {gpus:<12} {host.state}")
    return ExitCode.OK


@lab.command("models")
def lab_models() -> ExitCode:
    """List the GPU models that can be simulated."""
    from gpuhost.lab.gpu import models

    for name in models.names():
        click.echo(f"{name:<8} {models.find(name).name}")
    return ExitCode.OK


@lab.command("ssh", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def lab_ssh(name: str, command: tuple[str, ...]) -> ExitCode:
    """Log in to a rehearsal host, or run COMMAND on it."""
    from gpuhost import lab as room

    argv = [*room.ssh_argv(name), *command]
    os.execvp(argv[0], argv)  # noqa: S606  (ssh takes the terminal over)


@lab.command("down")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--all", "everything", is_flag=True, help="Every host, the network and the servers.")
def lab_down(names: tuple[str, ...], everything: bool) -> ExitCode:
    """Remove rehearsal hosts; what was built stays cached."""
    from gpuhost import lab as room
    from gpuhost.ui import choose

    if bool(names) == everything:
        raise UsageError("Name the hosts to remove, or say --all.", "gpuhost lab list shows them.")
    if everything:
        room.down_all(choose().say)
    else:
        room.down(names, choose().say)
    return ExitCode.OK


# ----------------------------------------------------------------- shared pieces


def _flags(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.get(name) for name in ("inventory", "forks")}


def _begin(hosts: tuple[str, ...], options: dict[str, Any]) -> tuple[Settings, Targets, Ui]:
    from gpuhost import settings as settings_room
    from gpuhost.targets import resolve
    from gpuhost.ui import choose

    settings = settings_room.load(_flags(options))
    targets = resolve(settings, hosts)
    return settings, targets, choose(quiet=options["quiet"])


def _finish(report: RunReport, settings: Settings, as_json: bool) -> ExitCode:
    from gpuhost.report import WRITERS

    WRITERS["json" if as_json else "table"](report, sys.stdout)
    click.echo(f"Report and evidence: {settings.runs_dir / report.run_id}", err=True)
    return report.exit_code


# -------------------------------------------------------------------------- exit


def main() -> None:
    """Entry point: run the command and turn whatever comes of it into an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(int(run(sys.argv[1:])))


def run(arguments: list[str]) -> ExitCode:
    """Run one command line; returns its exit code, with the error explained on stderr."""
    debug = "--debug" in arguments
    try:
        return ExitCode(cli.main(arguments, prog_name="gpuhost", standalone_mode=False) or 0)
    except GpuhostError as error:
        return _explain(error, debug)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. What had begun on a host may still be running there.", err=True)
        return ExitCode.INTERRUPTED
    except Terminated:
        click.echo("Terminated. What had begun on a host may still be running there.", err=True)
        return ExitCode.TERMINATED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (or Python complains at exit)
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001  (the last resort: a bug, reported as one)
        return _report_bug(error, debug)


def _explain(error: GpuhostError, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exc()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.message}", err=True)
    if error.remedy:
        click.echo(f"  {error.remedy}", err=True)
    return error.exit_code


def _report_bug(error: Exception, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exc()
    click.echo(f"gpuhost has a bug: {type(error).__name__}: {error}", err=True)
    click.echo("  Please report it with the output of the same command under --debug.", err=True)
    return ExitCode.BUG


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt, not to be caught on the way."""


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
