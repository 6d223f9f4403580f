"""``gpuhost remove``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import batch_options, begin, common_options, hosts_argument
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.model import HostReport, RunReport
    from gpuhost.remove import HostRemoval, Planned

ANSWER = "remove"


@click.command()
@hosts_argument
@common_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing hosts.")
@batch_options
@click.option("--include-busy", is_flag=True, help="Also hosts whose GPUs are in use.")
def remove(hosts: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> ExitCode:
    """Leave HOSTs as they were before gpuhost came.

    Takes back what its runs put on record on each host: packages, files, keys
    in daemon.json, members of the docker group, holds, enabled units; packages
    that it replaced come back where a repository still has them. What docker
    stored and users' data stay. Says what it would do and asks first; reboots
    where the driver was loaded. After an interruption, run it again.

    \b
    Examples:
      gpuhost remove gpu-01
      gpuhost remove rack4 --yes --canary --serial 10%
    """
    from gpuhost import remove as use_case
    from gpuhost.rollout import Strategy

    strategy = Strategy.of(options["serial"], options["canary"], options["max_failures"])
    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    for one in planned.removals.values():
        _show(one)
    ready = planned.ready(include_busy=options["include_busy"])
    if ready and not yes:
        _confirm(ready)
    report = use_case.remove(
        targets,
        settings,
        ui,
        planned,
        strategy=strategy,
        include_busy=options["include_busy"],
    )
    if as_json:
        click.echo(json.dumps(_document(planned, report), indent=2))
    else:
        for host in report.hosts:
            _show_result(host)
    click.echo(f"Report: {settings.runs_dir / report.run_id}", err=True)
    return report.exit_code


def _show(one: HostRemoval) -> None:
    from gpuhost.remove import STAYS

    if one.nothing:
        return
    back = [f"{name} {version}" for name, version in one.put_back.items()]
    users = [f"{', '.join(users)} out of {group}" for group, users in one.members.items()]
    lines = {
        "packages to remove": one.purge,
        "packages to put back": back,
        "keys of rpm's to remove": one.keys,
        "files to delete": one.delete_files,
        "files to put back": one.restore_files,
        "keys to take out of": one.merged_files,
        "users": users,
        "GPUs as before": one.division,
        "logins": ["root out of the registries that gpuhost logged it in to"] if one.logins else [],
        "reboot": ["yes, the NVIDIA driver is loaded"] if one.reboot else ["no"],
        "stays": [STAYS],
    }
    click.echo(f"{click.style(one.host, bold=True)} would be as it was before gpuhost:", err=True)
    for title, words in lines.items():
        if words:
            click.echo(f"  {title:<23} {', '.join(words)}", err=True)
    if one.problem:
        click.echo(f"  it is left alone: {one.problem}", err=True)
    elif one.busy:
        click.echo(f"  busy, and left alone unless --include-busy: {'; '.join(one.busy)}", err=True)


def _confirm(names: tuple[str, ...]) -> None:
    from gpuhost.rollout import shortened

    what = f"remove what gpuhost did from {shortened(names)}"
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}, and there is no terminal to ask.", "Add --yes.")
    answer = click.prompt(f'This will {what}. Type "{ANSWER}" to go on', err=True)
    if answer != ANSWER:
        raise click.Abort


def _show_result(host: HostReport) -> None:
    words = host.error or host.skipped
    if words:
        click.echo(f"{host.host}: {words}")
        for line in (*host.error_state.splitlines(), *host.error_remedy.splitlines()):
            click.echo(f"  {line}")
    for result in host.results:
        click.echo(f"{host.host}: is {result.summary}")
        for line in result.seen.splitlines():
            click.echo(f"  {line}")


def _document(planned: Planned, report: RunReport) -> dict[str, Any]:
    left = {host.host: [r.seen for r in host.results if r.seen] for host in report.hosts}
    done = {host.host for host in report.hosts if host.results}
    return {
        "schema_version": 1,
        "run": report.run_id,
        "hosts": [
            {
                **asdict(one),
                "removed": name in done,
                "left": [line for text in left[name] for line in text.splitlines()],
            }
            for name, one in planned.removals.items()
        ],
        "failures": [
            {"host": f.host, "error": f.error, "remedy": f.error_remedy}
            for f in report.hosts
            if f.error
        ],
    }
