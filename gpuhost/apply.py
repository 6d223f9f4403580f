"""Running the roles on hosts: the locks, the stamps, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpuhost import locks, stamps
from gpuhost.collect import failed_report
from gpuhost.engine import HostOutcome
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport
from gpuhost.rollout import shortened
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui

SHOWN_CHANGES = 8
# Tasks that are there to say what went wrong: their words need no heading.
EXPLAINING = ("Say ", "Stop ")


@dataclass(frozen=True)
class Applied:
    """Reports of the hosts where the roles failed; old and new versions by host and package."""

    failures: Mapping[str, HostReport]
    versions: Mapping[str, Mapping[str, Any]]


def apply(
    playbook: str,
    targets: Targets,
    roles: Mapping[str, Sequence[str]],
    settings: Settings,
    ui: Ui,
    *,
    variables: Mapping[str, object],
) -> Applied:
    """Run each host's ``roles`` through ``playbook``, which is provision.yml or builds on it.

    Raises:
        PlaybookError: Ansible could not run at all.
    """
    command = playbook.removesuffix(".yml")
    with ui.stage(command, targets.names):
        outcome = locks.run_locked(
            playbook,
            targets,
            settings,
            ui,
            {
                **variables,
                "gpuhost_roles": {name: list(roles[name]) for name in targets.names},
                "gpuhost_watched": stamps.WATCHED,
                "gpuhost_stamps": {h.name: stamps.make(h, roles[h.name]) for h in targets.hosts},
            },
        )
    say_changes({name: outcome.hosts[name] for name in targets.names}, ui)
    return Applied(
        {host.name: failure(host, command) for host in outcome.hosts.values() if not host.ok},
        {n: outcome.hosts[n].results.get("version_changes", {}) for n in targets.names},
    )


def say_changes(hosts: Mapping[str, HostOutcome], ui: Ui) -> None:
    """Say how much changed on those that came through."""
    changed = {name: host.changed for name, host in hosts.items() if host.ok}
    for name in [name for name in changed if changed[name]]:
        ui.say(f"{name}: {changed[name]} changed")
    unchanged = [name for name in changed if not changed[name]]
    if unchanged:
        ui.say(f"{shortened(unchanged)}: no changes")


def failure(host: HostOutcome, command: str) -> HostReport:
    """The report of a host where the playbook of a ``command`` did not come to its end."""
    report = failed_report(host, ExitCode.FAILED)
    if "lock" in host.results:
        return locks.locked(report, host.results["lock"])
    where = "" if host.task.startswith(EXPLAINING) else f"{host.task}: "
    return replace(
        report,
        error=f"{where}{report.error}" if host.task else report.error,
        error_state=_state(host),
        error_remedy=f"{report.error_remedy}\nThen again: gpuhost {command} {host.name}".strip(),
    )


def _state(host: HostOutcome) -> str:
    """What had been changed when a host failed."""
    if not host.changes:
        return "nothing had been changed before that"
    hidden = len(host.changes) - SHOWN_CHANGES
    shown = [*host.changes[:SHOWN_CHANGES], *([f"and {hidden} more"] if hidden > 0 else [])]
    return "changed before that, and left so:\n" + "\n".join(shown)
