"""Section ``docker``: the Docker daemon, its configuration and its packages."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Callable, Dict, List, Mapping, Optional

from gpuhost.probe import packages, units
from gpuhost.probe.context import Context
from gpuhost.probe.root import Root
from gpuhost.probe.run import which
from gpuhost.probe.schema import Command, Docker, DockerInfo, Login, RunningContainer

DAEMON_JSON = "/etc/docker/daemon.json"
# Root's: images are pulled as root.
CONFIG_JSON = "/root/.docker/config.json"
GPU_NODES = "/dev/nvidia"
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES="
NO_DEVICES = ("", "none", "void")
UNITS = ("docker.service", "docker.socket", "containerd.service")
PACKAGES = (
    "docker-ce*",
    "containerd*",
    "docker-buildx*",
    "docker-compose*",
    "docker.io",
    "docker-cli",
    "docker-engine",
    "podman*",
    "runc",
)


def collect(context: Context) -> Docker:
    """Read the section; a daemon that does not answer is part of it, not an error."""
    found: Docker = {
        "connect_error": None,
        "info": None,
        "running": [],
        "logins": logins(context.root),
        "daemon_json": context.root.file(DAEMON_JSON),
        "validate": _validate(context),
        "packages": packages.installed(context, PACKAGES),
        "units": units.show(context, UNITS),
    }
    found["connect_error"] = _ask_daemon(context, found)
    return found


def _ask_daemon(context: Context, found: Docker) -> Optional[str]:
    """Fill in what the daemon says; why it said nothing, if so."""
    # docker-py takes long to import: only who asks the daemon pays for it.
    from gpuhost.probe import engine_api  # noqa: PLC0415

    try:
        engine = engine_api.connect(context.spec["command_timeout_s"])
        found["info"] = docker_info(engine.info(), engine.version())
        found["running"] = running_containers(engine.running(), engine.inspect)
    except engine_api.EngineError as error:
        return str(error)
    return None


def docker_info(info: Mapping[str, Any], version: Mapping[str, Any]) -> DockerInfo:
    """The part of the Engine API's /info and /version that the checks read."""
    runtimes: Dict[str, Dict[str, str]] = info.get("Runtimes") or {}
    return {
        "server_version": version.get("Version") or "",
        "api_version": version.get("ApiVersion") or "",
        "runtimes": {
            name: runtime.get("path") or runtime.get("runtimeType") or ""
            for name, runtime in runtimes.items()
        },
        "default_runtime": info.get("DefaultRuntime") or "",
        "cgroup_driver": info.get("CgroupDriver") or "",
        "cgroup_version": str(info.get("CgroupVersion") or ""),
        "storage_driver": info.get("Driver") or "",
        "cdi_spec_dirs": info.get("CDISpecDirs") or [],
        "discovered_devices": [d["ID"] for d in info.get("DiscoveredDevices") or []],
        "root_dir": info.get("DockerRootDir") or "",
    }


def running_containers(
    listed: List[Dict[str, Any]], inspect: Callable[[str], Optional[Mapping[str, Any]]]
) -> List[RunningContainer]:
    """The containers in an answer of /containers/json; one that has ended since is left out."""
    found: List[RunningContainer] = []
    for container in listed:
        details = inspect(container["Id"])
        if details is not None:
            found.append(
                {
                    "id": container["Id"],
                    "name": (container.get("Names") or [""])[0].lstrip("/"),
                    "image": container.get("Image") or "",
                    "labels": container.get("Labels") or {},
                    "gpus": gpus_of(details),
                }
            )
    return found


def gpus_of(details: Mapping[str, Any]) -> str:
    """Which GPUs a container was given, as they were asked for; empty: none."""
    host = details.get("HostConfig") or {}
    asked = [_requested(request) for request in host.get("DeviceRequests") or []]
    nodes = [device.get("PathOnHost") or "" for device in host.get("Devices") or []]
    asked += [node for node in nodes if node.startswith(GPU_NODES)]
    if host.get("Runtime") == "nvidia":
        environment = (details.get("Config") or {}).get("Env") or []
        # The last one counts, as in a process's environment.
        value = [v[len(VISIBLE_DEVICES) :] for v in environment if v.startswith(VISIBLE_DEVICES)]
        asked += [v for v in value[-1:] if v not in NO_DEVICES]
    return ",".join(filter(None, asked))


def _requested(request: Mapping[str, Any]) -> str:
    ids = request.get("DeviceIDs") or []
    if ids:
        return ",".join(ids)
    count = request.get("Count") or 0
    return "all" if count < 0 else f"any {count}" if count else ""


def logins(root: Root) -> List[Login]:
    """Root's registry logins, without the passwords."""
    try:
        config = json.loads(root.file(CONFIG_JSON)["text"] or "{}")
        return [
            {"registry": registry, "username": _username(entry)}
            for registry, entry in (config.get("auths") or {}).items()
        ]
    except (ValueError, AttributeError):
        return []


def _username(entry: Mapping[str, Any]) -> str:
    try:
        return base64.b64decode(entry.get("auth") or "").decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _validate(context: Context) -> Optional[Command]:
    program = which("dockerd")
    if program is None or not context.root.exists(DAEMON_JSON):
        return None
    return context.run([program, "--validate", f"--config-file={DAEMON_JSON}"])
