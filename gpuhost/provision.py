"""``gpuhost provision``: plan, apply, prove; a fleet a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gpuhost import locks, runs, secrets, stamps, upgrades
from gpuhost.apply import Applied, apply
from gpuhost.checks.facts import Facts
from gpuhost.collect import Collected, collect, planning
from gpuhost.declared import declare
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, Login, RunReport
from gpuhost.plan import HostPlan, gpus_in_use, plan
from gpuhost.plan import in_full as full
from gpuhost.rollout import Strategy, roll_out
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import finished, keep, prove

PLAYBOOK = "provision.yml"
LOGIN_ROLE = "registry_login"


@dataclass(frozen=True)
class Planned:
    """The plans of the hosts that could be read, and reports of all others.

    ``busy``: who uses the GPUs of hosts that the plan would disturb.
    ``drained``: hosts that are out of service, and were not asked.
    ``unfinished``: hosts that have the record of a run, which is at work or died.
    """

    plans: Mapping[str, HostPlan]
    failures: Mapping[str, HostReport]
    drained: Mapping[str, HostReport] = field(default_factory=dict)
    busy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unfinished: frozenset[str] = frozenset()


def make_plans(targets: Targets, settings: Settings, ui: Ui) -> Planned:
    """Read every host that is in service and say what provisioning it would change."""
    drained = {
        name: _drained(name, targets) for name in targets.names if _is_drained(name, targets)
    }
    asked = targets.without(drained)
    collected = Collected({})
    if asked.hosts:
        with ui.stage("plan", asked.names):
            collected = collect(asked, planning, ui.listen, forks=settings.forks)
    plans, busy = {}, {}
    hosts = {host.name: host for host in asked.hosts}
    for name, evidence in collected.evidence.items():
        stale = stamps.stale(hosts[name], evidence)
        facts = Facts(evidence, targets.desired[name])
        declarations = declare(name, facts, targets.declare)
        plans[name] = plan(name, evidence, targets.desired[name], declarations, stale)
        users = gpus_in_use(facts)
        if users and plans[name].disturbs:
            busy[name] = users
    unfinished = frozenset(name for name in plans if locks.has_run(collected.evidence[name]))
    return Planned(plans, collected.failures, drained, busy, unfinished)


def in_full(planned: Planned) -> Planned:
    """The same plans, with every role running on every host."""
    return replace(planned, plans={name: full(one) for name, one in planned.plans.items()})


def provision(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    planned: Planned,
    *,
    strategy: Strategy | None = None,
    passwords: Mapping[Login, str] | None = None,
    include_busy: bool = False,
    auto_rollback: bool = False,
    before_proof: Callable[[Targets], Targets] = lambda targets: targets,
) -> RunReport:
    """Apply the roles to the hosts that were planned, and prove those that came through.

    Hosts in use are left alone unless ``include_busy``. ``passwords`` are of
    registry logins, where the inventory does not have them. ``auto_rollback``:
    an upgrade that is not proven is taken back. ``before_proof`` may declare
    more of the hosts that came through.
    """
    run = runs.begin(settings.runs_dir)
    busy = {} if include_busy else {name: _busy(name, planned.busy[name]) for name in planned.busy}
    others = {**planned.failures, **planned.drained, **busy}
    with (
        runs.logged(run, ui) as view,
        secrets.readable(passwords or {}) as variables,
    ):

        def work(batch: Sequence[str]) -> list[HostReport]:
            hosts = targets.only(batch)
            # A password that was typed is there to be stored.
            typed = (LOGIN_ROLE,) if passwords else ()
            roles = {
                name: tuple(dict.fromkeys((*planned.plans[name].roles, *typed))) for name in batch
            }
            # A run that died holds the lock of a conforming host, too, until another takes it over.
            working = targets.only([n for n in batch if roles[n] or n in planned.unfinished])
            applied = Applied({}, {})
            if working.hosts:
                applied = apply(PLAYBOOK, working, roles, settings, view, variables=variables)
            proven = prove(before_proof(hosts.without(applied.failures)), settings, view, run)
            reports = [applied.failures.get(name) or proven[name] for name in batch]
            back = upgrades.unproven(reports, applied.versions)
            taken = upgrades.take_back(hosts, settings, view, back) if auto_rollback else {}
            return [upgrades.told(r, back.get(r.host), taken.get(r.host)) for r in reports]

        names = [name for name in planned.plans if name not in others]
        reports = roll_out(names, strategy or Strategy(), work, view.say)
    report = finished(run, "provision", (*others.values(), *reports))
    return keep(run, report, settings, ui)


def _is_drained(name: str, targets: Targets) -> bool:
    return targets.desired[name].drained


def _drained(name: str, targets: Targets) -> HostReport:
    reason = targets.desired[name].drained_reason
    return HostReport(
        host=name,
        skipped=f"drained: {reason}" if reason else "drained",
        error_remedy="Take gpuhost_drained away from the host in the inventory when it is back.",
    )


def _busy(name: str, users: Sequence[str]) -> HostReport:
    return HostReport(
        host=name,
        skipped=f"busy, and provisioning would disturb it: {'; '.join(users)}",
        error_remedy=f"Wait for them to end, or: gpuhost provision {name} --include-busy",
        error_code=ExitCode.FAILED,
    )
