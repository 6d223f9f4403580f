"""``gpuhost plan``: what provisioning would change on a host, from its evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpuhost import checks
from gpuhost.checks.board import UNIT as FABRIC_MANAGER_UNIT
from gpuhost.checks.board import fabric_manager_package
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.components import COMPONENTS, ROLES
from gpuhost.model import CheckResult, Desired, Login, Verdict
from gpuhost.parse.docker import differences, login_key, parse_daemon_json
from gpuhost.parse.errors import ParseError
from gpuhost.parse.pci import is_nvswitch
from gpuhost.parse.versions import same
from gpuhost.probe.owner import LABEL as TRIAL_LABEL
from gpuhost.probe.schema import Evidence, Package, Unit

DOCKER_PACKAGES = ("docker-ce", "docker-ce-cli", "containerd.io")
TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
PERSISTENCED = "nvidia-persistenced.service"


# What restarts the daemon, or takes the GPUs away for a while.
DISTURBING = ("driver", "docker", "toolkit")


@dataclass(frozen=True)
class Change:
    """One thing that provisioning would do: the component it belongs to, in words."""

    component: str
    what: str


@dataclass(frozen=True)
class Run:
    """A role that would run, and why."""

    role: str
    why: str


@dataclass(frozen=True)
class HostPlan:
    """What provisioning would do to one host.

    ``reboot`` says why the host would be rebooted, and is empty where it
    would not. ``unreadable`` names what could not be read, so that the plan
    cannot be complete. ``missing_logins`` are to be made, and need passwords.
    ``runs`` are the roles that would run: those of the changes, and those that
    have to look for themselves.
    """

    host: str
    changes: tuple[Change, ...] = ()
    reboot: str = ""
    unreadable: tuple[str, ...] = ()
    missing_logins: tuple[Login, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def disturbs(self) -> bool:
        """Whether containers and programs that use GPUs would not survive it."""
        return bool(self.reboot) or any(c.component in DISTURBING for c in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether the host is what it should be, as far as can be read."""
        return not (self.changes or self.reboot or self.unreadable)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that would run, in order."""
        return tuple(run.role for run in self.runs)


def plan(
    host: str, evidence: Evidence, desired: Desired, stale: Mapping[str, str] | None = None
) -> HostPlan:
    """Compare one host's evidence with its desired state.

    ``stale`` are roles whose stamps on the host do not vouch for them, and why.
    """
    facts = Facts(evidence, desired)
    changes: list[Change] = []
    unreadable: list[str] = []
    reboot = ""
    logins: tuple[Login, ...] = ()
    try:
        reboot = _reboot(facts)
        logins = missing_logins(facts)
    except SectionMissingError as missing:
        unreadable.append(str(missing))
    for component, planner in PLANNERS.items():
        try:
            changes.extend(Change(component, what) for what in planner(facts))
        except SectionMissingError as missing:
            unreadable.append(str(missing))
    found = HostPlan(host, tuple(changes), reboot, tuple(dict.fromkeys(unreadable)), logins)
    return replace(found, runs=_runs(found, checks.judge(evidence, desired), stale or {}))


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
            *(f"{role} runs, which it builds on" for role in component.after if role in why),
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
    containers = [
        f"container {c['name']} ({c['image']}, GPUs {c['gpus']})"
        for c in running
        if c["gpus"] and TRIAL_LABEL not in c["labels"]
    ]
    return (*containers, *(f"process {user}" for user in processes))


def _driver(facts: Facts) -> Iterator[str]:
    driver, desired = facts.driver, facts.desired
    wanted = desired.driver_version or f"branch {desired.driver_branch}"
    found = driver["on_disk_version"]
    if found is None or driver["userspace_version"] is None:
        yield f"install the NVIDIA driver, {wanted}"
    elif not _is_version(found, desired.driver_version or desired.driver_branch):
        yield f"change the NVIDIA driver from {found} to {wanted}"
    elif not any(package["held"] for package in driver["packages"]):
        yield f"hold the driver packages at {found}"
    if not driver["nouveau_blacklisted"]:
        yield "blacklist nouveau and rebuild the initramfs"
    if found is not None and not _is_active(driver["units"], PERSISTENCED):
        yield "enable and start nvidia-persistenced"


def _fabric(facts: Facts) -> Iterator[str]:
    driver = facts.driver
    if not any(is_nvswitch(device["class_code"]) for device in facts.pci["devices"]):
        return
    version = driver["on_disk_version"]
    found = fabric_manager_package(driver)
    wanted = f"the driver's version{f', {version}' if version else ''}"
    if version is None or found is None:
        yield f"install the fabric manager at {wanted}"
    elif not same(version, found["version"]):
        yield f"change the fabric manager from {found['version']} to {wanted}"
    if version is not None and not _is_active(driver["units"], FABRIC_MANAGER_UNIT):
        yield "enable and start the fabric manager"


def _docker(facts: Facts) -> Iterator[str]:
    docker, desired = facts.docker, facts.desired
    yield from _packages(docker["packages"], DOCKER_PACKAGES[:1], desired.docker_version)
    if docker["connect_error"] and _versions(docker["packages"], DOCKER_PACKAGES[:1]):
        yield f"start docker, which does not answer ({docker['connect_error']})"
    missing = _missing_keys(docker["daemon_json"]["text"], desired.daemon_config)
    if missing:
        yield f"set {', '.join(missing)} in {docker['daemon_json']['path']}"


def _toolkit(facts: Facts) -> Iterator[str]:
    toolkit, desired = facts.toolkit, facts.desired
    yield from _packages(toolkit["packages"], TOOLKIT_PACKAGES, desired.toolkit_version)
    if not any(spec["exists"] for spec in toolkit["cdi_specs"]):
        yield "generate the CDI specification"


def _users(facts: Facts) -> Iterator[str]:
    group, desired = facts.users["docker_group"], facts.desired
    members = set(group["members"]) if group else set()
    for name in desired.docker_users:
        if name not in members:
            yield f"add {name} to the docker group (which is equivalent to root)"


def _logins(facts: Facts) -> Iterator[str]:
    for login in missing_logins(facts):
        yield f"log root in to {login.registry} as {login.username}"


def missing_logins(facts: Facts) -> tuple[Login, ...]:
    """The declared registry logins that the host does not have."""
    found = {login["registry"]: login["username"] for login in facts.docker["logins"]}
    stored = {one: found.get(login_key(one.registry)) for one in facts.desired.registry_logins}
    # A credential store does not tell whose login it has.
    return tuple(one for one, username in stored.items() if username not in ("", one.username))


def _packages(packages: list[Package], names: tuple[str, ...], wanted: str | None) -> Iterator[str]:
    found = _versions(packages, names)
    missing = [name for name in names if name not in found]
    if missing:
        yield f"install {', '.join(missing)} {wanted or '(newest)'}"
    for name, version in found.items():
        if wanted and version != wanted:
            yield f"change {name} from {version} to {wanted}"


def _versions(packages: list[Package], names: tuple[str, ...]) -> dict[str, str]:
    return {p["name"]: p["version"] for p in packages if p["name"] in names}


def _is_version(found: str, wanted: str) -> bool:
    return found == wanted or found.startswith(f"{wanted}.")


def _is_active(units: list[Unit], name: str) -> bool:
    return any(unit["name"] == name and unit["active_state"] == "active" for unit in units)


def _missing_keys(text: str | None, declared: Mapping[str, Any]) -> list[str]:
    try:
        present = parse_daemon_json(text or "{}")
    except ParseError:
        return sorted(declared)
    return [place for place, _, _ in differences(declared, present)]


def _reboot(facts: Facts) -> str:
    driver, desired = facts.driver, facts.desired
    loaded, on_disk = driver["loaded_version"], driver["on_disk_version"]
    if driver["nouveau_loaded"]:
        return "nouveau is loaded and has to make room for the NVIDIA driver"
    if loaded and on_disk and loaded != on_disk:
        return f"the loaded driver is {loaded}, on disk is {on_disk}"
    if loaded and not _is_version(loaded, desired.driver_version or desired.driver_branch):
        return f"the loaded driver {loaded} has to be replaced, if it cannot be reloaded"
    return ""


PLANNERS: Mapping[str, Callable[[Facts], Iterator[str]]] = {
    "driver": _driver,
    "fabric": _fabric,
    "docker": _docker,
    "toolkit": _toolkit,
    "users": _users,
    "logins": _logins,
}
