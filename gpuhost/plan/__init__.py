"""``gpuhost plan``: what provisioning would change on a host, from its evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from gpuhost import checks
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.components import COMPONENTS, ROLES, Component
from gpuhost.declared import Declarations
from gpuhost.model import CheckResult, Desired, Verdict
from gpuhost.plan import containers, driver, fabric, mig, packages
from gpuhost.plan.host import Host
from gpuhost.plan.model import BUILDS_ON, Change, HostPlan, Run
from gpuhost.probe.owner import LABEL as TRIAL_LABEL
from gpuhost.probe.schema import Evidence

__all__ = ["Change", "HostPlan", "Run", "gpus_in_use", "in_full", "plan"]

# What every component has; what only some need comes before or after it.
COMMON = (
    packages.key,
    packages.files,
    packages.conflicting,
    packages.packages,
    packages.holds,
)
BEFORE: Mapping[str, Callable[[Host], Iterator[Change]]] = {"driver": driver.first}
AFTER: Mapping[str, Callable[[Host], Iterator[Change]]] = {
    "driver": driver.last,
    "fabric": fabric.manager,
    "mig": mig.layout,
    "docker": containers.docker,
    "toolkit": containers.toolkit,
    "users": containers.users,
    "logins": containers.logins,
}


def plan(
    host: str,
    evidence: Evidence,
    desired: Desired,
    declarations: Declarations,
    stale: Mapping[str, str] | None = None,
) -> HostPlan:
    """Compare one host's evidence with its desired state and with what the roles declare.

    ``stale`` are roles whose stamps on the host do not vouch for them, and why.
    """
    seen = Host(Facts(evidence, desired), declarations)
    found = HostPlan(host, unreadable=declarations.problems)
    for component in COMPONENTS:
        try:
            found = replace(found, changes=(*found.changes, *_changes(component, seen)))
        except SectionMissingError as missing:
            found = _unread(found, missing)
    try:
        found = replace(
            found,
            reboot=driver.reboot(seen),
            missing_logins=containers.missing_logins(seen.facts),
        )
    except SectionMissingError as missing:
        found = _unread(found, missing)
    runs = _runs(found, checks.judge(evidence, desired), stale or {})
    return replace(found, runs=runs, blockers=declarations.blockers if runs else ())


def _changes(component: Component, host: Host) -> Iterator[Change]:
    yield from BEFORE[component.label](host) if component.label in BEFORE else ()
    for changes in COMMON:
        yield from changes(component, host)
    yield from AFTER[component.label](host) if component.label in AFTER else ()


def _unread(found: HostPlan, missing: SectionMissingError) -> HostPlan:
    words = dict.fromkeys([*found.unreadable, str(missing)])
    return replace(found, unreadable=tuple(words))


def in_full(host_plan: HostPlan) -> HostPlan:
    """The same plan with every role running."""
    asked = tuple(Run(role, "it was asked for") for role in ROLES)
    return replace(host_plan, runs=asked)


def _runs(
    host_plan: HostPlan, results: Iterable[CheckResult], stale: Mapping[str, str]
) -> tuple[Run, ...]:
    """The roles that have to run: a role is passed over only where nothing speaks for it."""
    failing = {
        result.check.partition(".")[0]: f"{result.check} says {result.verdict}"
        for result in results
        if result.verdict in (Verdict.FAIL, Verdict.UNKNOWN)
    }
    changing = {change.component for change in host_plan.changes}
    why: dict[str, str] = {}
    for component in COMPONENTS:
        reasons = [
            "the plan has changes of it" if component.label in changing else "",
            "the host has to be rebooted" if component.reboots and host_plan.reboot else "",
            "not everything could be read" if host_plan.unreadable else "",
            stale.get(component.role, ""),
            *(failing.get(area, "") for area in component.areas),
            *(f"{role} {BUILDS_ON}" for role in component.after if role in why),
        ]
        reason = next(filter(None, reasons), "")
        if reason:
            why[component.role] = reason
    return tuple(Run(role, reason) for role, reason in why.items())


def gpus_in_use(facts: Facts) -> tuple[str, ...]:
    """Who uses the host's GPUs right now: containers, then other processes."""
    try:
        running, processes = facts.docker["running"], facts.driver["gpu_users"]
    except SectionMissingError as missing:
        return (f"unknown, because {missing}",)
    containers_with_gpus = [
        f"container {c['name']} ({c['image']}, GPUs {c['gpus']})"
        for c in running
        if c["gpus"] and TRIAL_LABEL not in c["labels"]
    ]
    return (*containers_with_gpus, *(f"process {user}" for user in processes))
