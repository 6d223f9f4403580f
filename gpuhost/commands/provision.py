"""``gpuhost provision``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import begin, common_options, finish, hosts_argument
from gpuhost.commands.plan import show_plan
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.provision import Planned


@click.command()
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

    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    for host_plan in planned.plans.values():
        show_plan(host_plan, err=True)
    _confirm(planned, yes)
    return finish(use_case.provision(targets, settings, ui, planned), settings, as_json)


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
