"""``gpuhost verify``: read each host, run the container trials, judge, keep, report."""

from __future__ import annotations

from collections.abc import Collection

from gpuhost import __version__, checks, runs
from gpuhost.collect import Collected, collect, proving
from gpuhost.model import Desired, HostReport, RunReport
from gpuhost.probe.schema import Evidence
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui


def verify(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    *,
    command: str = "verify",
    names: Collection[str] = (),
    others: Collection[HostReport] = (),
) -> RunReport:
    """Verify every host of ``targets`` and keep the report under ``settings.runs_dir``.

    ``names`` limits the checks to those; ``others`` are reports of hosts that
    did not come this far and belong in the same report.
    """
    run = runs.begin(settings.runs_dir)
    collected = Collected({})
    if targets.hosts:
        with ui.stage("verify", targets.names):
            collected = collect(targets, proving, ui.listen, forks=settings.forks)
    runs.keep_evidence(run, collected.evidence)
    judged = [
        judge_host(name, collected.evidence[name], targets.desired[name], names)
        if name in collected.evidence
        else collected.failures[name]
        for name in targets.names
    ]
    report = RunReport(
        run_id=run.run_id,
        command=command,
        started=run.started,
        finished=runs.now(),
        gpuhost_version=__version__,
        hosts=(*others, *judged),
    )
    return runs.keep_report(run, report)


def judge_host(
    name: str, evidence: Evidence, desired: Desired, names: Collection[str] = ()
) -> HostReport:
    """One host's report from its evidence; pure."""
    return HostReport(
        host=name,
        results=checks.judge(evidence, desired, names),
        duration_s=evidence["probe"]["duration_s"],
        facts=checks.headline(evidence),
    )
