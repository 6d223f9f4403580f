"""Upgrades that are not proven: the way back is offered, or taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gpuhost.errors import ExitCode
from gpuhost.model import HostReport, Verdict
from gpuhost.rollback import Planned, rollback
from gpuhost.rollback_plan import HostRollback, lines_to_keep, steps
from gpuhost.rollout import has_failed
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui


def unproven(
    reports: Iterable[HostReport], versions: Mapping[str, Mapping[str, Any]]
) -> dict[str, HostRollback]:
    """The way back of each host that did not come through, and had another version before.

    ``versions`` are those that the run changed, by host and package.
    """
    failed = [report.host for report in reports if has_failed(report)]
    back = {name: HostRollback(name, tuple(steps(versions.get(name, {})))) for name in failed}
    return {name: one for name, one in back.items() if one.steps}


def take_back(
    targets: Targets, settings: Settings, ui: Ui, back: Mapping[str, HostRollback]
) -> dict[str, HostReport]:
    """Roll these hosts back in a run of its own; each one's report."""
    if not back:
        return {}
    report = rollback(targets.only(back), settings, ui, Planned(back), include_busy=True)
    variables = {host.name: host.variables for host in targets.hosts}
    for host in report.hosts:
        for line in lines_to_keep(back[host.host], variables[host.host]):
            ui.say(f"{host.host}: so that it stays there, declare {line}")
    return {host.host: host for host in report.hosts}


def told(report: HostReport, back: HostRollback | None, taken: HostReport | None) -> HostReport:
    """The report with what can be done about its upgrade, or was done, as one more remedy."""
    if back is None:
        return report
    more = f"Or take the upgrade back: gpuhost rollback {back.host}"
    if taken:
        proven = taken.exit_code is ExitCode.OK
        end = (
            "and is proven with it" if proven else f"but is not proven: gpuhost verify {back.host}"
        )
        more = f"The upgrade was taken back ({', '.join(map(str, back.steps))}), {end}."
    if report.error:
        return replace(report, error_remedy=f"{report.error_remedy}\n{more}".strip())
    bad = [r for r in report.results if r.verdict in (Verdict.FAIL, Verdict.UNKNOWN)]
    results = tuple(
        replace(r, remedy=f"{r.remedy}\n{more}".strip()) if r is bad[0] else r
        for r in report.results
    )
    return replace(report, results=results)
