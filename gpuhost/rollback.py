"""``gpuhost rollback``: back to the versions from before the last recorded change, and prove it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuhost import apply, runs
from gpuhost.checks.facts import Facts
from gpuhost.collect import collect, planning
from gpuhost.errors import ExitCode
from gpuhost.inventory import desired_states
from gpuhost.model import HostReport, RunReport
from gpuhost.plan import gpus_in_use
from gpuhost.rollback_plan import HostRollback, plan
from gpuhost.rollout import Strategy, roll_out
from gpuhost.runs import Run
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import finished, keep, prove

PLAYBOOK = "rollback.yml"


@dataclass(frozen=True)
class Planned:
    """How the hosts that could be read go back, who is busy, and reports of all others."""

    rollbacks: Mapping[str, HostRollback]
    failures: Mapping[str, HostReport] = field(default_factory=dict)
    busy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def ready(self, *, include_busy: bool) -> tuple[HostRollback, ...]:
        """Those that have somewhere to go back to and can."""
        spared = () if include_busy else self.busy
        return tuple(r for name, r in self.rollbacks.items() if r.steps and name not in spared)


def make_plans(targets: Targets, settings: Settings, ui: Ui, only: Collection[str]) -> Planned:
    """Read every host and say how it would go back; ``only`` names components."""
    with ui.stage("plan", targets.names):
        collected = collect(targets, planning, ui.listen, forks=settings.forks)
    desired = targets.desired
    rollbacks = {n: plan(n, e, desired[n], only) for n, e in collected.evidence.items()}
    users = {n: gpus_in_use(Facts(e, desired[n])) for n, e in collected.evidence.items()}
    busy = {name: users[name] for name in users if users[name] and rollbacks[name].steps}
    return Planned(rollbacks, collected.failures, busy)


def rollback(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    planned: Planned,
    *,
    strategy: Strategy | None = None,
    include_busy: bool = False,
) -> RunReport:
    """Take the hosts back, a batch at a time, and prove them as what they then are."""
    run = runs.begin(settings.runs_dir)
    ready = planned.ready(include_busy=include_busy)
    others = [
        _left_alone(one, planned.busy.get(name, ()))
        for name, one in planned.rollbacks.items()
        if one not in ready
    ]
    with runs.logged(run, ui) as view:

        def work(batch: Sequence[str]) -> list[HostReport]:
            reports = take_back(targets, settings, view, run, [ways[name] for name in batch])
            return [reports[name] for name in batch]

        ways = {one.host: one for one in ready}
        reports = roll_out(list(ways), strategy or Strategy(), work, view.say) if ways else []
    report = finished(run, "rollback", (*planned.failures.values(), *others, *reports))
    return keep(run, report, settings, ui)


def take_back(
    targets: Targets, settings: Settings, ui: Ui, run: Run, rollbacks: Sequence[HostRollback]
) -> dict[str, HostReport]:
    """Run the roles with the earlier versions pinned, and prove the hosts; each one's report.

    Hosts with the same way back go together.
    """
    alike: dict[tuple[tuple[str, str], ...], list[HostRollback]] = {}
    for one in rollbacks:
        alike.setdefault(tuple(one.pins.items()), []).append(one)
    reports: dict[str, HostReport] = {}
    for pins, group in alike.items():
        pinned_by = dict(pins)
        pinned = with_pins(targets.only([one.host for one in group]), pinned_by)
        roles = {one.host: one.roles for one in group}
        failures = apply.apply(PLAYBOOK, pinned, roles, settings, ui, variables=pinned_by).failures
        reports |= {**failures, **prove(pinned.without(failures), settings, ui, run)}
    return reports


def with_pins(targets: Targets, pins: Mapping[str, str]) -> Targets:
    """The same hosts, as if the inventory had these variables."""
    hosts = tuple(replace(h, variables={**h.variables, **pins}) for h in targets.hosts)
    return replace(targets, hosts=hosts, desired={**targets.desired, **desired_states(hosts)})


def _left_alone(found: HostRollback, users: Sequence[str]) -> HostReport:
    if found.nothing:
        return HostReport(found.host, skipped=f"nothing to roll back: {found.nothing}")
    if found.problem:
        return HostReport(
            found.host,
            error=f"it cannot be rolled back: {found.problem}. Nothing was changed.",
            error_remedy="Put these versions into the repository (or mirror) that the host uses "
            "and have its package lists read (apt-get update, dnf makecache), then run this again.",
            error_code=ExitCode.FAILED,
        )
    return HostReport(
        found.host,
        skipped=f"busy, and a rollback would disturb it: {'; '.join(users)}",
        error_remedy=f"Wait for them to end, or: gpuhost rollback {found.host} --include-busy",
        error_code=ExitCode.FAILED,
    )
