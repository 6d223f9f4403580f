"""``gpuhost plan``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import begin, common_options, hosts_argument
from gpuhost.components import COMPONENTS
from gpuhost.errors import ExitCode, worst

if TYPE_CHECKING:
    from gpuhost.plan import HostPlan
    from gpuhost.provision import Planned


@click.command()
@hosts_argument
@common_options
def plan(hosts: tuple[str, ...], as_json: bool, **options: Any) -> ExitCode:
    """Show what `provision` would change on HOSTs; change nothing."""
    from gpuhost import provision as use_case

    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    if as_json:
        _print_plans_json(planned)
    else:
        show_plans(planned, err=False)
        for failure in planned.failures.values():
            click.echo(f"{failure.host}: {failure.error}\n  {failure.error_remedy}", err=True)
    unreadable = any(host_plan.unreadable for host_plan in planned.plans.values())
    codes = [failure.exit_code for failure in planned.failures.values()]
    return worst([*codes, ExitCode.UNREACHABLE] if unreadable else codes)


def show_plans(planned: Planned, *, err: bool) -> None:
    """Print what would change, hosts with the same plan together.

    To stderr where a result follows on stdout.
    """
    from gpuhost.rollout import shortened

    alike: dict[HostPlan, list[str]] = {}
    for host_plan in planned.plans.values():
        alike.setdefault(replace(host_plan, host=""), []).append(host_plan.host)
    for host_plan, hosts in alike.items():
        _show(shortened(hosts), host_plan, err=err)
    for host, users in planned.busy.items():
        click.echo(f"{host} is busy, and this would disturb: {'; '.join(users)}", err=err)
    for report in planned.drained.values():
        click.echo(f"{report.host}: {report.skipped}; it is left alone", err=err)


def _show(hosts: str, host_plan: HostPlan, *, err: bool) -> None:
    if host_plan.is_empty:
        unsure = " that can be told from here" if host_plan.runs else ""
        click.echo(f"{hosts}: nothing to change{unsure}", err=err)
        _show_runs(host_plan, err=err)
        return
    click.echo(f"{click.style(hosts, bold=True)} would change:", err=err)
    for change in host_plan.changes:
        click.echo(f"  {change.component:<8} {change.what}", err=err)
    for words in host_plan.unreadable:
        click.echo(f"  could not be read: {words}", err=err)
    _show_runs(host_plan, err=err)
    reboot = f"yes, {host_plan.reboot}" if host_plan.reboot else "no"
    click.echo(f"  {'reboot':<8} {reboot}", err=err)


def _show_runs(host_plan: HostPlan, *, err: bool) -> None:
    """The roles that run only to look for themselves."""
    changing = {change.component for change in host_plan.changes}
    for component in COMPONENTS:
        for run in host_plan.runs:
            if run.role == component.role and component.label not in changing:
                click.echo(f"  {component.label:<8} runs, because {run.why}", err=err)


def _print_plans_json(planned: Planned) -> None:
    document = {
        "schema_version": 1,
        "hosts": [
            asdict(host_plan) | {"busy": list(planned.busy.get(host_plan.host, ()))}
            for host_plan in planned.plans.values()
        ],
        "drained": [{"host": r.host, "reason": r.skipped} for r in planned.drained.values()],
        "failures": [
            {"host": f.host, "error": f.error, "remedy": f.error_remedy}
            for f in planned.failures.values()
        ],
    }
    click.echo(json.dumps(document, indent=2))
