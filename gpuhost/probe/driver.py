"""Section ``driver``: the NVIDIA driver as loaded, as on disk and as user space has it."""

from __future__ import annotations

import os
import re
from typing import List, Optional

from gpuhost.probe import packages, units
from gpuhost.probe.context import Context
from gpuhost.probe.root import Root
from gpuhost.probe.run import which
from gpuhost.probe.schema import Driver

UNITS = ("nvidia-persistenced.service", "nvidia-fabricmanager.service")
PACKAGES = (
    "nvidia-*",
    "libnvidia-*",
    "libcuda1*",
    "cuda-drivers*",
    "kmod-nvidia*",
    "linux-modules-nvidia-*",
    "linux-objects-nvidia-*",
)
TOOLKIT_PACKAGE = re.compile(r"(lib)?nvidia-container|nvidia-mig-manager")
# Debian's own packages install the module under the second name.
MODULES = ("nvidia", "nvidia-current")
LIBRARY = "libnvidia-ml.so.1"
LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
VERSION = re.compile(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b")
MODPROBE_FOLDERS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
NOUVEAU_OFF = re.compile(r"^\s*(blacklist\s+nouveau\s*(#|$)|install\s+nouveau\s+\S*/false)", re.M)
GPU_NODE = re.compile(r"/dev/nvidia\d+")
# Services of NVIDIA's that keep GPUs open without using them.
IDLE_HOLDERS = ("nvidia-persistenced", "nv-fabricmanager", "nvidia-fabricmanager", "nv-hostengine")
NOUVEAU_OFF_AT_BOOT = re.compile(
    r"\b(modprobe\.blacklist|module_blacklist|rd\.driver\.blacklist)=\S*\bnouveau\b"
    r"|\bnouveau\.blacklist=(1|yes)\b"
)


def collect(context: Context) -> Driver:
    """Read the section."""
    root = context.root
    text = root.read("/proc/driver/nvidia/version")
    module = _module_on_disk(context)
    return {
        "loaded_version": root.read("/sys/module/nvidia/version") or loaded_version(text or ""),
        "loaded_text": text,
        "on_disk_version": _modinfo(context, "version", module) if module else None,
        "on_disk_license": _modinfo(context, "license", module) if module else None,
        "userspace_version": userspace_version(context),
        "nouveau_loaded": root.exists("/sys/module/nouveau"),
        "nouveau_blacklisted": nouveau_blacklisted(root),
        "gpu_users": gpu_users(root, os.getppid()),
        "device_nodes": [node for node in map(root.device_node, device_paths(root)) if node],
        "packages": [
            package
            for package in packages.installed(context, PACKAGES)
            if not TOOLKIT_PACKAGE.match(package["name"])
        ],
        "units": units.show(context, UNITS),
    }


def gpu_users(root: Root, probe: int) -> List[str]:
    """Processes that have a GPU open, as "pid name"; ``probe`` and what it started do not count."""
    users = []
    for process in root.list("/proc", "[0-9]*"):
        pid = int(process.rsplit("/", 1)[1])
        name = root.read(f"{process}/comm") or "?"
        # The kernel cuts names at 15 characters.
        idle = any(holder.startswith(name) for holder in IDLE_HOLDERS)
        if not idle and _has_gpu_open(root, process) and not _descends_from(root, pid, probe):
            users.append((pid, name))
    return [f"{pid} {name}" for pid, name in sorted(users)]


def _has_gpu_open(root: Root, process: str) -> bool:
    descriptors = root.list(f"{process}/fd")
    return any(GPU_NODE.fullmatch(root.link(fd) or "") for fd in descriptors)


def _descends_from(root: Root, pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        # The command's name, in brackets, may hold anything; after it come fields 3 and 4.
        fields = (root.read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return pid == ancestor


def loaded_version(text: str) -> Optional[str]:
    """The driver version in /proc/driver/nvidia/version."""
    for line in text.splitlines():
        found = VERSION.search(line)
        if line.startswith("NVRM version") and found:
            return found.group(1)
    return None


def _module_on_disk(context: Context) -> Optional[str]:
    return next((name for name in MODULES if _modinfo(context, "filename", name)), None)


def _modinfo(context: Context, field: str, module: str) -> Optional[str]:
    answer = context.run(["modinfo", "-F", field, module])
    return answer["stdout"].strip() or None if answer["rc"] == 0 else None


def userspace_version(context: Context) -> Optional[str]:
    """The version of the library that the dynamic loader would give a program."""
    for path in _library_paths(context):
        try:
            name = context.root.path(path).resolve(strict=True).name
        except (OSError, RuntimeError):
            continue
        found = VERSION.search(name)
        if found:
            return found.group(1)
    return None


def _library_paths(context: Context) -> List[str]:
    cache = context.run([which("ldconfig") or "ldconfig", "-p"])["stdout"]
    listed = re.findall(rf"^\s*{re.escape(LIBRARY)} .*=> (\S+)$", cache, re.M)
    return [*listed, *(f"{folder}/{LIBRARY}" for folder in LIBRARY_FOLDERS)]


def nouveau_blacklisted(root: Root) -> bool:
    """Whether modprobe's configuration or the kernel's command line keeps nouveau away."""
    files = [path for folder in MODPROBE_FOLDERS for path in root.list(folder, "*.conf")]
    if any(NOUVEAU_OFF.search(root.read(path) or "") for path in files):
        return True
    return bool(NOUVEAU_OFF_AT_BOOT.search(root.read("/proc/cmdline") or ""))


def device_paths(root: Root) -> List[str]:
    """Every /dev/nvidia*, and the capability nodes that MIG uses."""
    return [*root.list("/dev", "nvidia*"), *root.list("/dev/nvidia-caps")]
