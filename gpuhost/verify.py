"""``gpuhost verify``: read each host, run the container trials, judge, keep, report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from gpuhost import __version__, checks, runs, site_checks, survival
from gpuhost.checks.facts import Facts
from gpuhost.checks.measures import measures
from gpuhost.checks.registry import Check, requirements, select
from gpuhost.checks.remedies import HOST
from gpuhost.checks.sight import partition
from gpuhost.collect import asking, collect
from gpuhost.history.keeping import recall, remember
from gpuhost.model import Desired, HostReport, RunReport, Suite
from gpuhost.probe.schema import Evidence
from gpuhost.runs import Run
from gpuhost.settings import Settings
from gpuhost.survival import Event, Ordeal
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.workloads import proof
from gpuhost.workloads.proof import Work


def verify(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    *,
    command: str = "verify",
    names: Collection[str] = (),
    suite: Suite = Suite.STANDARD,
    consented: Collection[Event] = (),
    works: Mapping[str, Sequence[Work]] = MappingProxyType({}),
) -> RunReport:
    """Verify every host of ``targets`` and keep the report under ``settings.runs_dir``.

    ``names`` limits the checks to those; otherwise they are those of ``suite``.
    The full one has the hosts go through what they have to survive, as far as
    that is ``consented`` to. ``works`` are workloads that hosts prove besides.

    Raises:
        UsageError: a host has no such GPU as a workload is to get, or an archive cannot be used.
    """
    run = runs.begin(settings.runs_dir)
    reports = prove(targets, settings, ui, run, names=names, suite=suite)
    if suite is Suite.FULL and not names:

        def look(gone: Targets, event: Event) -> Mapping[str, HostReport]:
            after = replace(run, folder=run.folder / survival.FOLDER / event)
            return prove(gone, settings, ui, after, suite=Suite.STANDARD)

        users = _users(run, reports, targets)
        reports = Ordeal(targets, settings, ui, reports, users, look).reports(consented)
    reports = with_workloads(targets, settings, ui, run, reports=reports, works=works)
    missing = [n for n in targets.names if targets.desired[n].workloads and n not in works]
    complete = is_complete(names, suite) and not missing
    return keep(run, finished(run, command, reports.values(), complete=complete), settings, ui)


def with_workloads(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    run: Run,
    *,
    reports: Mapping[str, HostReport],
    works: Mapping[str, Sequence[Work]],
) -> dict[str, HostReport]:
    """The reports with what the hosts' workloads showed."""
    able = targets.only([n for n, report in reports.items() if works.get(n) and not report.error])
    if not able.hosts:
        return dict(reports)
    seen = {n: Facts(runs.kept_evidence(run, n), targets.desired[n]) for n in able.names}
    earlier = proof.earlier_figures(settings, able.names)
    judged = proof.prove(able, settings, ui, works, seen=seen, earlier=earlier)
    return {
        name: proof.joined(report, judged[name]) if name in judged else report
        for name, report in reports.items()
    }


def _users(
    run: Run, reports: Mapping[str, HostReport], targets: Targets
) -> dict[str, tuple[str, ...]]:
    """Who uses each host, as the evidence that was kept shows it."""
    seen = {name: runs.kept_evidence(run, name) for name in reports if not reports[name].error}
    return {name: survival.in_use(found, targets.desired[name]) for name, found in seen.items()}


def is_complete(names: Collection[str], suite: Suite) -> bool:
    """Whether a run of these checks can show that a host is well."""
    return not names and suite is not Suite.QUICK


def prove(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    run: Run,
    *,
    names: Collection[str] = (),
    suite: Suite = Suite.STANDARD,
) -> dict[str, HostReport]:
    """Read and judge the hosts, and keep the evidence with the run; each host's report by name.

    A host is asked for no more than the checks need.
    """
    if not targets.hosts:
        return {}
    selected = select(names, suite)
    spec_for = asking(*requirements(selected))
    with ui.stage("verify", targets.names):
        collected = collect(targets, spec_for, ui.listen, forks=settings.forks)
    judged = keep_and_judge(run, collected.evidence, targets.desired, selected)
    if is_complete(names, suite):
        folder = site_checks.folder_of(targets.inventory)
        judged = with_site_checks(judged, folder, targets.inventory, settings, ui)
    return {
        name: judged[name] if name in judged else collected.failures[name] for name in targets.names
    }


def with_site_checks(
    judged: Mapping[str, HostReport],
    folder: Path | None,
    inventory: Path | None,
    settings: Settings,
    ui: Ui,
) -> dict[str, HostReport]:
    """The reports with the results of the site's own checks, where it has a folder of them.

    Without an inventory the host is this machine.
    """
    if folder is None or not judged:
        return dict(judged)
    with ui.stage("site checks", tuple(judged)):
        found = site_checks.examine(folder, inventory, judged, forks=settings.forks)
    return {
        name: replace(report, results=(*report.results, *found[name]))
        for name, report in judged.items()
    }


def keep_and_judge(
    run: Run,
    evidence: Mapping[str, Evidence],
    desired: Mapping[str, Desired],
    selected: Iterable[Check],
) -> dict[str, HostReport]:
    """Keep what was read with the run, and judge it by some checks; each host's report by name."""
    runs.keep_evidence(run, evidence)
    runs.keep_desired(run, {name: desired[name] for name in evidence})
    names = [check.info.name for check in selected]
    return {name: judge_host(name, evidence[name], desired[name], names) for name in evidence}


def finished(
    run: Run, command: str, hosts: Iterable[HostReport], *, complete: bool = True
) -> RunReport:
    """The report of a run that has come to its end."""
    return RunReport(
        run_id=run.run_id,
        command=command,
        started=run.started,
        finished=runs.now(),
        gpuhost_version=__version__,
        hosts=tuple(hosts),
        complete=complete,
    )


def keep(run: Run, report: RunReport, settings: Settings, ui: Ui) -> RunReport:
    """Keep the report in the run's folder and in the history, with the evidence's places in it."""
    kept = runs.keep_report(run, report)
    if words := remember(settings.state_dir, settings.runs_dir, kept):
        ui.say(words)
    runs.keep_page(run, kept, recall(settings.state_dir, kept))
    return kept


def judge_host(
    name: str, evidence: Evidence, desired: Desired, names: Collection[str] = ()
) -> HostReport:
    """One host's report from its evidence, with its name in the remedies; pure."""
    results = checks.judge(evidence, desired, names)
    return HostReport(
        host=name,
        results=tuple(replace(r, remedy=r.remedy.replace(HOST, name)) for r in results),
        duration_s=evidence["probe"]["duration_s"],
        facts=checks.headline(evidence),
        measures=measures(evidence),
        partition=partition(evidence),
    )
