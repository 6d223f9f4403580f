"""``gpuhost provision``: plan, apply, prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gpuhost import engine
from gpuhost.collect import Collected, collect, failed_report, reading
from gpuhost.engine import HostOutcome
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, RunReport
from gpuhost.plan import HostPlan, plan
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import verify


@dataclass(frozen=True)
class Planned:
    """The plans of the hosts that could be read, and reports of those that could not."""

    plans: Mapping[str, HostPlan]
    failures: Mapping[str, HostReport]


def make_plans(targets: Targets, settings: Settings, ui: Ui) -> Planned:
    """Read every host and say what provisioning it would change; changes nothing."""
    with ui.stage("plan", targets.names):
        collected: Collected = collect(targets, reading, ui.listen, forks=settings.forks)
    plans = {
        name: plan(name, evidence, targets.desired[name])
        for name, evidence in collected.evidence.items()
    }
    return Planned(plans, collected.failures)


def provision(targets: Targets, settings: Settings, ui: Ui, planned: Planned) -> RunReport:
    """Apply the roles to the hosts that were planned, then verify those that came through."""
    reachable = narrow(targets, tuple(planned.plans))
    failures = dict(planned.failures)
    if reachable.hosts:
        failures |= apply(reachable, settings, ui)
    proven = narrow(targets, tuple(n for n in reachable.names if n not in failures))
    return verify(proven, settings, ui, command="provision", others=tuple(failures.values()))


def apply(targets: Targets, settings: Settings, ui: Ui) -> dict[str, HostReport]:
    """Run the roles; returns a report for each host where they failed.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    with ui.stage("provision", targets.names):
        outcome = engine.run(
            "provision.yml", targets.inventory, targets.names, {}, ui.listen, forks=settings.forks
        )
    for name in targets.names:
        host = outcome.hosts[name]
        if host.ok:
            ui.say(f"{name}: {host.changed} changed" if host.changed else f"{name}: no changes")
    return {host.name: _failed(host) for host in outcome.hosts.values() if not host.ok}


def _failed(host: HostOutcome) -> HostReport:
    report = failed_report(host, ExitCode.FAILED)
    where = f"{host.task}: " if host.task else ""
    return replace(report, error=f"{where}{report.error}")


def narrow(targets: Targets, names: tuple[str, ...]) -> Targets:
    """The same targets, of these hosts only."""
    return replace(targets, hosts=tuple(h for h in targets.hosts if h.name in names))
