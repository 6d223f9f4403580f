"""Runs that change hosts: one at a time a host, and what the one before it left behind.

The host's side is the module ``ledger`` of the playbooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from gpuhost import engine
from gpuhost.engine import Outcome
from gpuhost.errors import ExitCode
from gpuhost.model import HostReport
from gpuhost.probe.schema import Evidence
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui


def run_locked(
    playbook: str,
    targets: Targets,
    settings: Settings,
    ui: Ui,
    variables: Mapping[str, object],
) -> Outcome:
    """Run a playbook that takes each host's lock, and release the locks of hosts that failed.

    What a run changed on a host is among its results, also where it failed.
    Says which hosts were found with a run that had not come to its end.
    """
    run_id = uuid4().hex
    given = {
        **variables,
        "gpuhost_run_id": run_id,
        "gpuhost_command": f"gpuhost {playbook.removesuffix('.yml')} {' '.join(targets.names)}",
    }
    outcome = engine.run(
        playbook, targets.inventory, targets.names, given, ui.listen, forks=settings.forks
    )
    for name in targets.names:
        unfinished = outcome.hosts[name].results.get("unfinished")
        if unfinished:
            ui.say(found_unfinished(name, unfinished))
    failed = [
        name
        for name in targets.names
        if outcome.hosts[name].failed and "lock" not in outcome.hosts[name].results
    ]
    if not failed:
        return outcome
    # An unreachable host keeps its lock: whatever had begun there may still be at work.
    released = _release(targets.only(failed), settings, run_id)
    hosts = {
        name: replace(host, results={**host.results, **released.hosts[name].results})
        for name, host in outcome.hosts.items()
        if name in failed
    }
    return Outcome({**outcome.hosts, **hosts})


def has_run(evidence: Evidence) -> bool:
    """Whether a host has the record of a run that has not come to its end."""
    section = evidence["sections"].get("provisioning")
    return bool(section and section["data"] and section["data"].get("run"))


def _release(targets: Targets, settings: Settings, run_id: str) -> Outcome:
    return engine.run(
        "release.yml",
        targets.inventory,
        targets.names,
        {"gpuhost_run_id": run_id},
        lambda _event: None,
        forks=settings.forks,
    )


def found_unfinished(name: str, unfinished: Mapping[str, Any]) -> str:
    """What an earlier run left on a host, in words."""
    at = f"it had come to {unfinished['at']}" if unfinished["at"] else "it had changed nothing"
    return f"{name}: found unfinished: {_described(unfinished)}; {at}. This run went on from there."


def locked(report: HostReport, lock: Mapping[str, Any]) -> HostReport:
    """The report of a host that another run is at work on.

    Nothing is wrong with the host and nothing about it is unknown: what was
    asked for could not be set up, which is exit code 4.
    """
    free_at = datetime.fromtimestamp(lock["free_at"], UTC).strftime("%H:%M:%S UTC")
    return replace(
        report,
        error=f"another run is at work on it: {_described(lock)}. Nothing was changed.",
        error_remedy="Wait for it to end, then run the same command again. If it died, that works "
        f"from {free_at} on, and at once on {lock['holder']['machine']}.",
        error_code=ExitCode.SETUP,
    )


def _described(record: Mapping[str, Any]) -> str:
    holder = record["holder"]
    since = datetime.fromtimestamp(record["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    who = f"{holder['user']}@{holder['machine']}, pid {holder['pid']}"
    return f"`{holder['command']}` ({who}, since {since})"
