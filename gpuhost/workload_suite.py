"""``gpuhost verify --suite workloads`` and ``gpuhost workload verify``: workloads in the report."""

from __future__ import annotations

from collections.abc import Sequence

from gpuhost import runs
from gpuhost.checks.facts import Facts
from gpuhost.collect import asking, collect
from gpuhost.model import HostReport, RunReport
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.verify import finished, keep
from gpuhost.workloads.proof import SECTIONS, Work, declared, prove


def verify_workload(targets: Targets, settings: Settings, ui: Ui, work: Work) -> RunReport:
    """Prove one workload on every host of ``targets``, and keep the report.

    Raises:
        UsageError: a host has no such GPU, or an archive cannot be used.
    """
    run = runs.begin(settings.runs_dir)
    with ui.stage("look", targets.names):
        collected = collect(targets, asking(SECTIONS, ()), ui.listen, forks=settings.forks)
    seen = {
        name: Facts(evidence, targets.desired[name])
        for name, evidence in collected.evidence.items()
    }
    able = targets.only(seen)
    judged = prove(able, settings, ui, {name: [work] for name in able.names}, seen=seen, earlier={})
    # Figures of other parameters than the nights' are not to be compared with theirs.
    reports = {name: HostReport(name, results=one.results) for name, one in judged.items()}
    reports |= collected.failures
    ordered = [reports[name] for name in targets.names]
    return keep(run, finished(run, "workload", ordered, complete=False), settings, ui)


def declared_works(targets: Targets, settings: Settings) -> dict[str, tuple[Work, ...]]:
    """What each host declares to prove; nothing of those that declare nothing.

    Raises:
        UsageError: there is no such workload, or a parameter is wrong.
    """
    declaring = [name for name in targets.names if targets.desired[name].workloads]
    return works_of(targets.only(declaring), settings, ())


def works_of(
    targets: Targets, settings: Settings, names: Sequence[str]
) -> dict[str, tuple[Work, ...]]:
    """What each host is to prove: ``names``, else what it declares, else all workloads there are.

    Raises:
        UsageError: there is no such workload, or a parameter is wrong.
    """
    return {
        name: declared(settings.project, targets.desired[name].workloads, names)
        for name in targets.names
    }
