"""``gpuhost provision``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import batch_options, begin, common_options, finish, hosts_argument
from gpuhost.commands.passwords import ask_passwords
from gpuhost.commands.plan import show_plans
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.plan import HostPlan
    from gpuhost.rollout import Strategy


@click.command()
@hosts_argument
@common_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing hosts.")
@click.option("--full", is_flag=True, help="Run every role, also where the plan finds nothing.")
@batch_options
@click.option(
    "--include-busy", is_flag=True, help="Also hosts whose GPUs are in use and would be disturbed."
)
@click.option(
    "--auto-rollback",
    is_flag=True,
    help="Take an upgrade back where the host is not proven with it.",
)
@click.option(
    "--ask-registry-passwords",
    "ask_all",
    is_flag=True,
    help="Ask for passwords that are not declared, also where the host has a login.",
)
def provision(hosts: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> ExitCode:
    """Make HOSTs GPU container hosts, and prove it.

    Shows what would change, asks if a host may be rebooted or there is more
    than one, runs the roles, reboots where needed, then verifies. Running it
    again on a host that is as it should be changes nothing, and runs no role.
    Hosts that are drained (gpuhost_drained), or whose GPUs are in use and would
    be disturbed, are left alone.

    \b
    Examples:
      gpuhost provision lab-01
      gpuhost provision 'rack4:!gpu-17' --yes
      gpuhost provision gpu_hosts --canary --serial 10% --max-failures 2
    """
    from gpuhost import provision as use_case
    from gpuhost.rollout import Strategy

    strategy = Strategy.of(options["serial"], options["canary"], options["max_failures"])
    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    if options["full"]:
        planned = use_case.in_full(planned)
    show_plans(planned, err=True)
    spared = () if options["include_busy"] else planned.busy
    plans = [one for one in planned.plans.values() if one.host not in spared]
    if not yes:
        _confirm(plans, strategy)
    affected = targets.only([one.host for one in plans])
    passwords = ask_passwords(affected, planned, options["ask_all"])
    report = use_case.provision(
        targets,
        settings,
        ui,
        planned,
        strategy=strategy,
        passwords=passwords,
        include_busy=options["include_busy"],
        auto_rollback=options["auto_rollback"],
    )
    return finish(report, settings, as_json)


def _confirm(plans: list[HostPlan], strategy: Strategy) -> None:
    from gpuhost.rollout import batches, shortened

    changing = [one for one in plans if not (one.is_empty or one.blockers)]
    reboots = [host_plan.host for host_plan in changing if host_plan.reboot]
    if not (reboots or len(changing) > 1):
        return
    what = f"change {len(changing)} host{'s' if len(changing) > 1 else ''}"
    planned = batches([host_plan.host for host_plan in changing], strategy)
    if len(planned) > 1:
        first = f", {planned[0][0]} first" if strategy.canary else ""
        what += f" in {len(planned)} batches{first}"
    if reboots:
        what += f" and reboot {shortened(reboots)}"
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}, and there is no terminal to ask.", "Add --yes.")
    click.confirm(f"This will {what}. Go on?", abort=True, err=True)
