"""Section ``toolkit``: the NVIDIA Container Toolkit and the CDI specs on the host."""

from __future__ import annotations

import shutil
from typing import Optional, Sequence

from gpuhost.probe import packages, units
from gpuhost.probe.context import Context
from gpuhost.probe.root import Root
from gpuhost.probe.run import SEARCH_PATH, which
from gpuhost.probe.schema import Command, Toolkit

CONFIG = "/etc/nvidia-container-runtime/config.toml"
SPEC_FOLDERS = ("/etc/cdi", "/var/run/cdi")
SPEC_SUFFIXES = (".yaml", ".yml", ".json")
HOOK = "nvidia-container-runtime-hook"
UNITS = ("nvidia-cdi-refresh.path", "nvidia-cdi-refresh.service")
PACKAGES = (
    "nvidia-container-toolkit*",
    "libnvidia-container*",
    "nvidia-container-runtime*",
    "nvidia-docker*",
)


def collect(context: Context) -> Toolkit:
    """Read the section."""
    root = context.root
    specs = [path for folder in SPEC_FOLDERS for path in root.list(folder)]
    return {
        "ctk_version": _ctk(context, ["--version"]),
        "cdi_list": _ctk(context, ["cdi", "list"]),
        "hook_path": hook_path(root),
        "config_toml": root.file(CONFIG),
        "cdi_specs": [root.file(path) for path in specs if path.endswith(SPEC_SUFFIXES)],
        "packages": packages.installed(context, PACKAGES),
        "units": units.show(context, UNITS),
    }


def _ctk(context: Context, arguments: Sequence[str]) -> Optional[Command]:
    program = which("nvidia-ctk")
    return context.run([program, *arguments]) if program else None


def hook_path(root: Root) -> Optional[str]:
    """Where dockerd finds the hook that ``--gpus`` needs, in the PATH that dockerd has."""
    return shutil.which(HOOK, path=dockerd_path(root))


def dockerd_path(root: Root) -> str:
    """PATH as the running dockerd has it; without one, what systemd would give it."""
    pid = root.read("/var/run/docker.pid")
    environment = root.read(f"/proc/{pid}/environ") if pid and pid.isdigit() else None
    for entry in (environment or "").split("\0"):
        if entry.startswith("PATH="):
            return entry[len("PATH=") :]
    return SEARCH_PATH
