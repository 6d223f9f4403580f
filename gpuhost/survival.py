"""Survival: do the checks that pass still pass after what happens to every host some day?

A daemon-reload, a restart of docker, a reboot. Only on hosts that nobody
uses, and what stops containers only where the operator consents to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gpuhost import engine
from gpuhost.checks.facts import Facts
from gpuhost.model import CheckResult, Desired, HostReport, Verdict
from gpuhost.outcome import HostOutcome
from gpuhost.plan import gpus_in_use
from gpuhost.probe.owner import LABEL as TRIAL_LABEL
from gpuhost.probe.schema import Evidence
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui

FOLDER = "survival"
SHOWN = 6


class Event(StrEnum):
    """What a host has to survive, in the order in which it goes through it."""

    DAEMON_RELOAD = "daemon-reload"
    DOCKER_RESTART = "docker-restart"
    REBOOT = "reboot"

    @property
    def check(self) -> str:
        """What its result is called."""
        return f"survival.{self.replace('-', '_')}"


CONSENT = {Event.DOCKER_RESTART: "--restart-docker", Event.REBOOT: "--reboot"}
Look = Callable[[Targets, Event], Mapping[str, HostReport]]
"""Reads hosts again after an event, and gives the report of each."""


@dataclass(frozen=True)
class Ordeal:
    """What some hosts go through, and how they were before.

    ``users`` says of each host who uses it: one that is in use goes through
    nothing, and one that does not come back goes through nothing more.
    """

    targets: Targets
    settings: Settings
    ui: Ui
    before: Mapping[str, HostReport]
    users: Mapping[str, Sequence[str]]
    look: Look

    def reports(self, consented: Collection[Event]) -> dict[str, HostReport]:
        """The reports of before, each with a result for each event."""
        reports = dict(self.before)
        able = [n for n, report in reports.items() if not report.error and not self.users[n]]
        for event in Event:
            agreed = event in consented or event not in CONSENT
            found = self._go_through(event, self.targets.only(able if agreed else ()))
            for name, report in reports.items():
                alone = left_alone(event, self.users.get(name, ()), agreed=agreed)
                if not report.error:
                    result = found.get(name, alone)
                    reports[name] = replace(report, results=(*report.results, result))
            able = [n for n in able if n not in found or found[n].verdict is not Verdict.UNKNOWN]
        return reports

    def _go_through(self, event: Event, targets: Targets) -> dict[str, CheckResult]:
        if not targets.hosts:
            return {}
        with self.ui.stage(event, targets.names):
            outcome = engine.run(
                "survive.yml",
                targets.inventory,
                targets.names,
                {"gpuhost_event": str(event)},
                self.ui.listen,
                forks=self.settings.forks,
            )
        came = [name for name in targets.names if outcome.hosts[name].ok]
        after = self.look(targets.only(came), event) if came else {}
        return {
            name: compare(event, self.before[name], after[name])
            if name in after
            else lost(event, outcome.hosts[name])
            for name in targets.names
        }


def in_use(evidence: Evidence, desired: Desired) -> tuple[str, ...]:
    """Who would lose something: whoever uses the GPUs, and every other container."""
    facts = Facts(evidence, desired)
    users = gpus_in_use(facts)
    if any(user.startswith("unknown") for user in users):
        return users
    if facts.docker["connect_error"]:
        return (*users, "unknown, because dockerd does not answer")
    others = [
        f"container {c['name']} ({c['image']})"
        for c in facts.docker["running"]
        if not c["gpus"] and TRIAL_LABEL not in c["labels"]
    ]
    return (*users, *others)


def compare(event: Event, before: HostReport, after: HostReport) -> CheckResult:
    """PASS where every check that passed passes again; pure."""
    again = {result.check: result for result in after.results}
    held = [r.check for r in before.results if r.verdict is Verdict.PASS and r.check in again]
    broken = [again[name] for name in held if again[name].verdict is not Verdict.PASS]
    if after.error or not held:
        words = after.error or "no check passed before, so none could be held to it"
        return _bad(event, Verdict.UNKNOWN, "could not be compared", words, _again_now(before.host))
    if not broken:
        words = f"{len(held)} checks pass as before"
        return CheckResult(event.check, Verdict.PASS, words)
    failed = any(result.verdict is Verdict.FAIL for result in broken)
    seen = "\n".join(f"{r.check}: {r.verdict}: {r.summary}" for r in broken[:SHOWN])
    more = f"\nand {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    verdict = Verdict.FAIL if failed else Verdict.UNKNOWN
    summary = f"{len(broken)} of {len(held)} checks do not pass any more"
    remedy = broken[0].remedy or _again_now(before.host)
    return _bad(event, verdict, summary, seen + more, remedy)


def lost(event: Event, outcome: HostOutcome) -> CheckResult:
    """The host did not come through it, or could not be asked to go."""
    words = outcome.message or "Ansible ended without a result for this host."
    summary = "the host did not come through it"
    remedy = outcome.remedy or _again_now(outcome.name)
    return _bad(event, Verdict.UNKNOWN, summary, words, remedy)


def _again_now(host: str) -> str:
    """The command that says how the host is, whatever it was made to go through."""
    return f"gpuhost verify {host}  # judges it as it is now"


def left_alone(event: Event, users: Sequence[str], *, agreed: bool) -> CheckResult:
    """A host that was not made to go through it, and why."""
    if not agreed:
        words = f"not consented to: {CONSENT[event]}"
    elif users:
        words = f"the host is in use: {'; '.join(users)}"
    else:
        words = "the host did not come through what was before"
    return CheckResult(event.check, Verdict.SKIP, words)


def _bad(event: Event, verdict: Verdict, summary: str, seen: str, remedy: str) -> CheckResult:
    return CheckResult(
        event.check,
        verdict,
        f"{event}: {summary}",
        seen=seen,
        expected=f"every check that passed before {event} passes after it",
        cause=f"{event} changed the host, or the host does not answer after it",
        remedy=remedy,
    )
