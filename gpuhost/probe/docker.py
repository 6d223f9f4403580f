"""Section ``docker``: the Docker daemon, its configuration and its packages."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from gpuhost.probe import packages, units
from gpuhost.probe.context import Context
from gpuhost.probe.run import which
from gpuhost.probe.schema import Command, Docker, DockerInfo, RunningContainer

DAEMON_JSON = "/etc/docker/daemon.json"
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
        found["running"] = running_containers(engine.running())
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


def running_containers(listed: List[Dict[str, Any]]) -> List[RunningContainer]:
    """The containers in an answer of /containers/json."""
    return [
        {
            "id": container["Id"],
            "name": (container.get("Names") or [""])[0].lstrip("/"),
            "image": container.get("Image") or "",
            "labels": container.get("Labels") or {},
        }
        for container in listed
    ]


def _validate(context: Context) -> Optional[Command]:
    program = which("dockerd")
    if program is None or not context.root.exists(DAEMON_JSON):
        return None
    return context.run([program, "--validate", f"--config-file={DAEMON_JSON}"])
