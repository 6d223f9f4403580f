"""``gpuhost remove``: hosts as they were before gpuhost. What is to be done is told by the host.

The host's side is the module ``undo`` of the playbooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpuhost import apply, engine, locks, runs
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.collect import collect, failed_report, reading
from gpuhost.errors import ExitCode
from gpuhost.model import CheckResult, HostReport, RunReport, Verdict
from gpuhost.plan import gpus_in_use
from gpuhost.rollout import Strategy, roll_out
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import finished, keep
from gpuhost.workloads.render import LABEL as WORKLOAD_LABEL

LOOK, PLAYBOOK = "removal.yml", "remove.yml"
# What the history knows the result by.
RESULT = "remove.as_before"
STAYS = (
    "what docker stored (/var/lib/docker, /var/lib/containerd), outputs of workloads "
    "(/var/lib/gpuhost/outputs), users and their files, and system users that packages made"
)


@dataclass(frozen=True)
class HostRemoval:
    """What would be taken back on one host.

    ``problem`` says why it is not, ``busy`` who uses its GPUs.
    """

    host: str
    purge: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    put_back: Mapping[str, str] = field(default_factory=dict)
    delete_files: tuple[str, ...] = ()
    restore_files: tuple[str, ...] = ()
    merged_files: tuple[str, ...] = ()
    members: Mapping[str, Sequence[str]] = field(default_factory=dict)
    division: tuple[str, ...] = ()
    reboot: bool = False
    logins: bool = False
    nothing: bool = False
    problem: str = ""
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """What would be taken back on the hosts that could be read, and reports of all others."""

    removals: Mapping[str, HostRemoval]
    failures: Mapping[str, HostReport] = field(default_factory=dict)

    def ready(self, *, include_busy: bool) -> tuple[str, ...]:
        """The hosts where something is to be taken back and can be."""
        return tuple(
            name
            for name, one in self.removals.items()
            if not one.nothing and not one.problem and (include_busy or not one.busy)
        )


def make_plans(targets: Targets, settings: Settings, ui: Ui) -> Planned:
    """Ask every host what would be taken back, and who uses its GPUs."""
    with ui.stage("look", targets.names):
        collected = collect(targets, reading, ui.listen, forks=settings.forks)
        asked = targets.without(collected.failures)
        answers = _look(asked, settings, ui) if asked.hosts else {}
    failures = dict(collected.failures)
    removals = {}
    for name, host in answers.items():
        if not host.ok:
            failures[name] = failed_report(host, ExitCode.FAILED)
            continue
        facts = Facts(collected.evidence[name], targets.desired[name])
        removals[name] = removal_of(name, host.results["removal"], users_of(facts))
    return Planned(removals, failures)


def users_of(facts: Facts) -> tuple[str, ...]:
    """Whose work a removal would end: that on the GPUs, and workloads that use none."""
    on_gpus = gpus_in_use(facts)
    try:
        running = facts.docker["running"]
    except SectionMissingError:
        return on_gpus
    others = [
        f"container {container['name']} ({container['image']})"
        for container in running
        if WORKLOAD_LABEL in container["labels"] and not container["gpus"]
    ]
    return (*on_gpus, *others)


def _look(targets: Targets, settings: Settings, ui: Ui) -> Mapping[str, engine.HostOutcome]:
    outcome = engine.run(
        LOOK, targets.inventory, targets.names, {}, ui.listen, forks=settings.forks
    )
    return {name: outcome.hosts[name] for name in targets.names}


def removal_of(name: str, told: Mapping[str, Any], busy: tuple[str, ...]) -> HostRemoval:
    """What a host told of itself."""
    if told["nothing"]:
        return HostRemoval(name, nothing=True)
    return HostRemoval(
        name,
        purge=tuple(told["purge"]),
        keys=tuple(told["keys"]),
        put_back=told["put_back"],
        delete_files=tuple(told["delete_files"]),
        restore_files=tuple(told["restore_files"]),
        merged_files=tuple(told["merged_files"]),
        members={group: users for group, users in told["members"].items() if users},
        division=tuple(told["division"]),
        reboot=told["reboot"],
        logins=told["logins"],
        problem=_problem(told),
        busy=busy,
    )


def _problem(told: Mapping[str, Any]) -> str:
    if told["never_ours"]:
        return (
            f"its ledger says that gpuhost installed {', '.join(told['never_ours'])}, which every "
            "host has: the ledger is damaged"
        )
    if told["needed_by"]:
        return (
            f"{', '.join(told['needed_by'])} would be removed too, needing what gpuhost "
            "installed: remove them first, or keep gpuhost's packages"
        )
    return ""


def remove(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    planned: Planned,
    *,
    strategy: Strategy | None = None,
    include_busy: bool = False,
) -> RunReport:
    """Take everything back on the hosts that are ready, a batch at a time; kept in the history.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    run = runs.begin(settings.runs_dir)
    ready = planned.ready(include_busy=include_busy)
    others = [_left_alone(one) for name, one in planned.removals.items() if name not in ready]

    with runs.logged(run, ui) as view:

        def work(batch: Sequence[str]) -> list[HostReport]:
            with view.stage("remove", tuple(batch)):
                outcome = locks.run_locked(PLAYBOOK, targets.only(batch), settings, view, {})
            hosts = [outcome.hosts[name] for name in batch]
            return [_done(host) if host.ok else apply.failure(host, "remove") for host in hosts]

        reports = roll_out(ready, strategy or Strategy(), work, view.say) if ready else []
    hosts = (*planned.failures.values(), *others, *reports)
    return keep(run, finished(run, "remove", hosts, complete=False), settings, ui)


def _done(host: engine.HostOutcome) -> HostReport:
    """The report of a host that is as it was; what is otherwise is a warning."""
    left = host.results.get("left", ())
    result = CheckResult(RESULT, Verdict.PASS, "as it was before gpuhost")
    if left:
        result = CheckResult(
            RESULT,
            Verdict.WARN,
            "as it was before gpuhost, except for:",
            seen="\n".join(left),
            expected="everything as it was before gpuhost",
            cause="a repository no longer has it, or it was changed since by somebody else",
        )
    return HostReport(host.name, (result,))


def _left_alone(one: HostRemoval) -> HostReport:
    if one.nothing:
        return HostReport(one.host, skipped="gpuhost has not changed anything here")
    if one.problem:
        return HostReport(
            one.host,
            error=f"left as it is: {one.problem}",
            error_remedy=f"Then again: gpuhost remove {one.host}",
            error_code=ExitCode.FAILED,
        )
    return HostReport(
        one.host,
        skipped=f"busy, and a removal would end it: {'; '.join(one.busy)}",
        error_remedy=f"Wait for them to end, or: gpuhost remove {one.host} --include-busy",
        error_code=ExitCode.FAILED,
    )
