"""``gpuhost verify``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import begin, common_options, complain, finish, flags, mlflow_option
from gpuhost.commands.completion import checks, hosts_and_groups, runs_or_file
from gpuhost.errors import ExitCode, worst
from gpuhost.model import Suite

if TYPE_CHECKING:
    from gpuhost.model import RunReport
    from gpuhost.settings import Settings

LOCALHOST = "localhost"
# The suite standard, and what people run.
WORKLOADS = "workloads"


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST...]", shell_complete=hosts_and_groups)
@common_options
@click.option(
    "--suite",
    type=click.Choice([*(str(suite) for suite in Suite), WORKLOADS]),
    help="How much: quick reads the host and starts a few containers; standard (the default) "
    "proves the partitioning too; full adds what is slow, and on idle hosts a daemon-reload "
    "after which all has to hold; workloads is standard, and then the workloads that the hosts "
    "declare (gpuhost_workloads), or all there are.",
)
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    metavar="NAME",
    help="With --suite workloads: this one; may be repeated.",
)
@click.option(
    "--restart-docker",
    is_flag=True,
    help="With --suite full: restart docker on idle hosts, and see whether all holds.",
)
@click.option(
    "--reboot",
    is_flag=True,
    help="With --suite full: reboot idle hosts, and see whether all holds.",
)
@click.option(
    "--check",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this check; may be repeated.",
    shell_complete=checks,
)
@click.option(
    "--from",
    "saved",
    multiple=True,
    metavar="RUN|FILE",
    shell_complete=runs_or_file,
    help="Judge the evidence of an earlier run (its id, or 'latest') or of a file again; asks "
    "no host. May be repeated.",
)
@mlflow_option
def verify(
    hosts: tuple[str, ...],
    suite: str | None,
    names: tuple[str, ...],
    saved: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Prove that HOSTs are what they are declared to be.

    Reads each host once, starts containers with GPUs partitioned among them,
    and compares what each container sees with what it asked for. Only PASS
    is a pass: what could not be determined is UNKNOWN, and counts.

    \b
    Examples:
      gpuhost verify lab-01
      gpuhost verify lab-01 --check partition.gpus
      gpuhost verify --from latest lab-01     judge again, offline
      gpuhost verify lab-01 --suite full --restart-docker --reboot
      gpuhost verify lab-01 --workload training
      gpuhost verify localhost                this machine, without SSH
    """
    from gpuhost.checks.registry import select
    from gpuhost.verify import verify as use_case
    from gpuhost.workload_suite import works_of

    if names and suite:
        raise click.UsageError("--check and --suite exclude each other.")
    from gpuhost.survival import Event

    consent = {"restart_docker": Event.DOCKER_RESTART, "reboot": Event.REBOOT}
    events = [event for flag, event in consent.items() if options.pop(flag)]
    if events and suite != Suite.FULL:
        raise click.UsageError("--restart-docker and --reboot take --suite full.")
    select(names)
    workloads = options.pop("workloads")
    if workloads and suite not in (None, WORKLOADS):
        raise click.UsageError("--workload takes --suite workloads.")
    with_workloads = suite == WORKLOADS or bool(workloads)
    if with_workloads and (names or saved or hosts == (LOCALHOST,)):
        raise click.UsageError("Workloads are proven on hosts of the inventory, with all checks.")
    suite = None if suite == WORKLOADS else suite
    if saved:
        chosen = Suite(suite or Suite.STANDARD)
        return _again(saved, hosts, names, chosen, as_json=as_json, mlflow=options["mlflow"])
    if not hosts:
        raise click.UsageError("Name a host, or evidence with --from.")
    if hosts == (LOCALHOST,):
        if events:
            raise click.UsageError("localhost is not restarted by its own verification.")
        return _here(options, names, Suite(suite or Suite.STANDARD), as_json)
    settings, targets, ui = begin(hosts, options)
    report = use_case(
        targets,
        settings,
        ui,
        names=names,
        suite=Suite(suite or Suite.STANDARD),
        consented=events,
        works=works_of(targets, settings, workloads) if with_workloads else {},
    )
    return _finish(report, settings, as_json)


def _again(
    saved: tuple[str, ...],
    hosts: tuple[str, ...],
    names: tuple[str, ...],
    suite: Suite,
    *,
    as_json: bool,
    mlflow: str | None,
) -> ExitCode:
    from gpuhost import settings as settings_room
    from gpuhost import tracking
    from gpuhost.rejudge import judge_again
    from gpuhost.report import WRITERS

    settings = settings_room.load({})
    report = judge_again(saved, settings.runs_dir, hosts=hosts, names=names, suite=suite)
    WRITERS["json" if as_json else "table"](report, sys.stdout)
    # Sent on request only: judging again is no verification of the host.
    troubles = tracking.send(report, replace(settings, mlflow=mlflow)) if mlflow else ()
    return worst([report.exit_code, complain(troubles)])


def _here(options: dict[str, Any], names: tuple[str, ...], suite: Suite, as_json: bool) -> ExitCode:
    from gpuhost import settings as settings_room
    from gpuhost.local import verify_here
    from gpuhost.ui import choose

    settings = settings_room.load(flags(options))
    report = verify_here(settings, choose(quiet=options["quiet"]), names=names, suite=suite)
    return _finish(report, settings, as_json)


def _finish(report: RunReport, settings: Settings, as_json: bool) -> ExitCode:
    from gpuhost import tracking

    code = finish(report, settings, as_json)
    return worst([code, complain(tracking.send(report, settings))])
