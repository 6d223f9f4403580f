"""Section ``system``: the operating system, its kernel, boot and disks."""

from __future__ import annotations

import json
import os
import platform
import shlex
import socket
import time
from typing import Dict, List, Optional

from gpuhost.probe.context import Context
from gpuhost.probe.root import Root
from gpuhost.probe.run import which
from gpuhost.probe.schema import Disk, System

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DISK_PATHS = ("/", "/boot", "/var", "/var/lib/docker", "/var/lib/containerd")


def collect(context: Context) -> System:
    """Read the section; raises nothing that is not a fault of the host."""
    root = context.root
    release = os_release(root.read("/etc/os-release") or "")
    return {
        "hostname": socket.gethostname(),
        "os_id": release.get("ID", ""),
        "os_id_like": release.get("ID_LIKE", "").split(),
        "os_version_id": release.get("VERSION_ID", ""),
        "os_codename": release.get("UBUNTU_CODENAME") or release.get("VERSION_CODENAME", ""),
        "os_pretty_name": release.get("PRETTY_NAME", ""),
        "arch": platform.machine(),
        "kernel": platform.release(),
        "kernels_installed": kernels_installed(root),
        "boot_id": root.read("/proc/sys/kernel/random/boot_id"),
        "uptime_s": uptime_s(root),
        "secure_boot": secure_boot(root),
        "reboot_required": reboot_required(context),
        "python": platform.python_version(),
        "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "disks": disks(root),
    }


def os_release(text: str) -> Dict[str, str]:
    """The assignments of an os-release file, unquoted as a shell would."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        try:
            values[name] = "".join(shlex.split(value))
        except ValueError:
            values[name] = value
    return values


def kernels_installed(root: Root) -> List[str]:
    """Releases with a kernel image; where none is visible, those with a modules folder."""
    images = [path[len("/boot/vmlinuz-") :] for path in root.list("/boot", "vmlinuz-*")]
    folders = [path.rsplit("/", 1)[-1] for path in root.list("/lib/modules")]
    images += [name for name in folders if root.exists(f"/lib/modules/{name}/vmlinuz")]
    return sorted(set(images or folders))


def uptime_s(root: Root) -> Optional[float]:
    """Seconds since boot."""
    try:
        return float((root.read("/proc/uptime") or "").split()[0])
    except (IndexError, ValueError):
        return None


def secure_boot(root: Root) -> Optional[bool]:
    """Whether UEFI Secure Boot is on; a host booted without UEFI has none."""
    if not root.exists("/sys/firmware/efi"):
        return False
    try:
        # Four bytes of attributes come before the value.
        return root.path(SECURE_BOOT).read_bytes()[4] == 1
    except (OSError, IndexError):
        return None


def reboot_required(context: Context) -> bool:
    """What the distribution itself says about it."""
    if context.root.exists("/var/run/reboot-required"):
        return True
    program = which("needs-restarting")
    return program is not None and context.run([program, "-r"])["rc"] == 1


def disks(root: Root) -> List[Disk]:
    """Size and space left for non-root users, where images and packages go."""
    found: List[Disk] = []
    for path in dict.fromkeys((*DISK_PATHS, *_data_root(root))):
        try:
            status = os.statvfs(root.path(path))
        except OSError:
            continue
        found.append(
            {
                "path": path,
                "total_bytes": status.f_blocks * status.f_frsize,
                "free_bytes": status.f_bavail * status.f_frsize,
                "total_inodes": status.f_files,
                "free_inodes": status.f_favail,
            }
        )
    return found


def _data_root(root: Root) -> List[str]:
    try:
        value = json.loads(root.read("/etc/docker/daemon.json") or "{}").get("data-root")
    except (ValueError, AttributeError):
        return []
    return [value] if isinstance(value, str) else []
