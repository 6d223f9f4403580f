"""What docker, the toolkit, the users and the logins need beside packages and files."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from gpuhost import role_modules
from gpuhost.checks.facts import Facts
from gpuhost.model import Login
from gpuhost.parse.docker import differences, login_key
from gpuhost.plan.driver import replacement
from gpuhost.plan.host import DAEMON_JSON, FILE_MODE, Host, unit
from gpuhost.plan.model import Change
from gpuhost.plan.packages import to_install
from gpuhost.probe.schema import DeviceNode

DOCKER_ROLE = "docker_ce"
TOOLKIT_ROLE = "nvidia_container_toolkit"
DOCKER_UNIT = "docker.service"
CDI_SPEC = "/var/run/cdi/nvidia.yaml"
CDI_UNITS = ("nvidia-cdi-refresh.service", "nvidia-cdi-refresh.path")
GPU_NODE = re.compile(r"/dev/nvidia\d[^/]*")
CAPABILITIES = "/dev/nvidia-caps/"

Difference = tuple[str, Any, Any]


def docker(host: Host) -> Iterator[Change]:
    """The daemon's configuration, and the daemon itself."""
    found = list(_keys(host, DOCKER_ROLE))
    yield from _set("docker", found)
    file = host.files.get(DAEMON_JSON)
    if file and file["mode"] != FILE_MODE:
        yield Change("docker", "change", f"the mode of {DAEMON_JSON}", file["mode"], FILE_MODE)
    yield from _service(host, found)


def _keys(host: Host, role: str) -> Iterator[Difference]:
    present = host.daemon_config
    if present is not None:
        yield from differences(host.declared(role).daemon_config, present)


def _set(label: str, found: Sequence[Difference]) -> Iterator[Change]:
    for place, wanted, present in found:
        before = "" if present is None else _shown(present)
        yield Change(label, "set", f"{place} in {DAEMON_JSON}", before, _shown(wanted))


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _service(host: Host, found: Sequence[Difference]) -> Iterator[Change]:
    service = unit(host.facts.docker["units"], DOCKER_UNIT)
    # Where it is not installed yet, its package enables and starts it.
    if service and service["enabled_state"] == "disabled":
        yield Change("docker", "enable", DOCKER_UNIT)
    if service and service["active_state"] != "active":
        yield Change("docker", "start", DOCKER_UNIT)
    elif found:
        yield Change("docker", "restart", "dockerd", note=f"{DAEMON_JSON} changes")
    elif service and _replaces(host, DOCKER_ROLE):
        yield Change("docker", "restart", "dockerd", note="its package changes")
    else:
        yield from _restart("docker", host, [DAEMON_JSON])


def _replaces(host: Host, role: str) -> bool:
    """Whether a package changes for which dockerd is restarted."""
    declared = host.declared(role)
    return not to_install(declared, host).keys().isdisjoint(declared.restarting)


def _restart(label: str, host: Host, paths: Sequence[str]) -> Iterator[Change]:
    """A restart for files that changed after dockerd was started."""
    started = host.facts.provisioning["dockerd_started_at"]
    newer = [p for p in paths if p in host.files and host.files[p]["changed_at"] > (started or 0)]
    if started is not None and newer:
        note = f"{', '.join(newer)} changed since it was started"
        yield Change(label, "restart", "dockerd", note=note)


def toolkit(host: Host) -> Iterator[Change]:
    """The runtime in daemon.json, and the CDI specification."""
    declared = host.declared(TOOLKIT_ROLE)
    others = list(_keys(host, DOCKER_ROLE))
    found = [each for each in _keys(host, TOOLKIT_ROLE) if each not in others]
    yield from _set("toolkit", found)
    if found:
        yield Change("toolkit", "restart", "dockerd", note=f"{DAEMON_JSON} changes")
    elif not others:
        yield from _restart_for_the_runtime(host, declared.read_at_start)
    yield from _cdi(host, bool(to_install(declared, host)))


def _restart_for_the_runtime(host: Host, paths: Sequence[str]) -> Iterator[Change]:
    """A restart for a runtime that docker's own package has not restarted dockerd for."""
    is_running = host.facts.provisioning["dockerd_started_at"] is not None
    docker_changes = _replaces(host, DOCKER_ROLE)
    # In one transaction the runtime is there before docker's package restarts dockerd.
    comes_later = not (docker_changes and host.installs_at_once)
    if is_running and _replaces(host, TOOLKIT_ROLE):
        if comes_later:
            yield Change("toolkit", "restart", "dockerd", note="its runtime changes")
    elif not docker_changes:
        yield from _restart("toolkit", host, paths)


def _cdi(host: Host, installs: bool) -> Iterator[Change]:
    section = host.facts.toolkit
    for name in CDI_UNITS:
        found = unit(section["units"], name)
        if found and found["enabled_state"] == "disabled":
            yield Change("toolkit", "enable", name)
    text = next((s["text"] for s in section["cdi_specs"] if s["path"] == CDI_SPEC), None)
    nodes = [n["path"] for n in host.facts.driver["device_nodes"] if _is_handed_out(n)]
    why = role_modules.load("cdi_staleness").staleness(text, host.state["loaded_version"], nodes)
    if text is None and installs:
        yield Change("toolkit", "generate", "the CDI specification")
    elif why or replacement(host):
        note = why or "it is of the driver that is replaced"
        yield Change("toolkit", "renew", "the CDI specification", note=note)


def _is_handed_out(node: DeviceNode) -> bool:
    """Whether containers are given a node: a GPU's, or the right to use a part of one."""
    if GPU_NODE.fullmatch(node["path"]):
        return True
    return node["path"].startswith(CAPABILITIES) and bool(int(node["mode"], 8) & stat.S_IROTH)


def users(host: Host) -> Iterator[Change]:
    """The members of the group docker."""
    section = host.facts.users
    group = section["docker_group"]
    known = {user["name"]: user for user in section["users"]}
    for name in host.desired.docker_users:
        user = known.get(name)
        if host.declarations.create_users and not (user and user["exists"]):
            yield Change("users", "create", name)
        if name not in (group["members"] if group else ()):
            note = "which is equivalent to root"
            yield Change("users", "add", f"{name} to the docker group", note=note)


def logins(host: Host) -> Iterator[Change]:
    """Logins to registries."""
    for login in missing_logins(host.facts):
        yield Change("logins", "log in", f"root to {login.registry} as {login.username}")


def missing_logins(facts: Facts) -> tuple[Login, ...]:
    """The declared registry logins that the host does not have."""
    found = {login["registry"]: login["username"] for login in facts.docker["logins"]}
    stored = {one: found.get(login_key(one.registry)) for one in facts.desired.registry_logins}
    # A credential store does not tell whose login it has.
    return tuple(one for one, username in stored.items() if username not in ("", one.username))
