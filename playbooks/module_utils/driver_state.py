"""What a host has of GPUs, kernel, Secure Boot and NVIDIA driver, read without changing it.

Every function takes ``root``, the folder to read below, so that a tree of
files can stand for a host.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .nvidia_pci import Gpu
from .texts import AnyPath

NVIDIA = "0x10de"
GPU_CLASSES = ("0x0300", "0x0302")
NVSWITCH_CLASS = "0x0680"
# From the module that depends on most to the one that all depend on.
MODULES = ("nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia_peermem", "nvidia")
# Processes that hold a GPU open without working on it.
IDLE_HOLDERS = ("nvidia-persistenced", "nv-fabricmanager", "nvidia-fabricmanager")
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
MACHINE_OWNER_KEYS = ("var/lib/shim-signed/mok/MOK.der", "var/lib/dkms/mok.pub")


def run(*argv: str) -> tuple[int, str]:
    """Exit status and stripped standard output of a command; status -1 if it does not run."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1, ""
    return done.returncode, done.stdout.decode(errors="replace").strip()


def read_text(path: AnyPath) -> str | None:
    """The stripped text of a file; ``None`` if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def gpus(root: AnyPath = "/") -> list[Gpu]:
    """NVIDIA's GPUs on the PCI bus, in the order of their addresses."""
    found = []
    for device in sorted(Path(root, "sys/bus/pci/devices").glob("*")):
        is_gpu = (read_text(device / "class") or "").startswith(GPU_CLASSES)
        if is_gpu and read_text(device / "vendor") == NVIDIA:
            found.append(Gpu(device.name, int(read_text(device / "device") or "0", 16)))
    return found


def nvswitches(root: AnyPath = "/") -> list[str]:
    """The addresses of NVIDIA's NVSwitches on the PCI bus: bridges that join GPUs."""
    return [
        device.name
        for device in sorted(Path(root, "sys/bus/pci/devices").glob("*"))
        if read_text(device / "vendor") == NVIDIA
        and (read_text(device / "class") or "").startswith(NVSWITCH_CLASS)
    ]


def loaded_version(root: AnyPath = "/") -> str | None:
    """The version of the loaded NVIDIA module; ``None`` if none is loaded."""
    version = read_text(Path(root, "sys/module/nvidia/version"))
    if version:
        return version
    banner = read_text(Path(root, "proc/driver/nvidia/version")) or ""
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", banner)
    return found.group(1) if found else None


def loaded_modules(root: AnyPath = "/") -> str | None:
    """``open`` or ``proprietary``: what is loaded; ``None`` if nothing is or it does not say."""
    banner = read_text(Path(root, "proc/driver/nvidia/version"))
    if not banner:
        return None
    return "open" if "Open Kernel Module" in banner else "proprietary"


def on_disk(kernel: str) -> tuple[str | None, str | None]:
    """Version and flavour of the NVIDIA module that ``kernel`` would load; ``None`` if none."""
    status, version = run("modinfo", "-k", kernel, "-F", "version", "nvidia")
    if status != 0 or not version:
        return None, None
    _, licence = run("modinfo", "-k", kernel, "-F", "license", "nvidia")
    return version.splitlines()[0], "proprietary" if licence == "NVIDIA" else "open"


def secure_boot(root: AnyPath = "/") -> bool | None:
    """Whether Secure Boot is on; ``None`` if the host has no UEFI variables."""
    try:
        return Path(root, SECURE_BOOT).read_bytes()[-1:] == b"\x01"
    except OSError:
        return None


def signing_key_is_enrolled(root: AnyPath = "/") -> bool:
    """Whether a key that DKMS signs with is in the firmware's list of machine owner keys."""
    for key in MACHINE_OWNER_KEYS:
        path = Path(root, key)
        # mokutil's exit status has changed meaning between versions; its words have not.
        if path.exists() and "is already enrolled" in run("mokutil", "--test-key", str(path))[1]:
            return True
    return False


def users_of_gpus(root: AnyPath = "/") -> list[str]:
    """Who has a GPU open, as ``"pid name"``, without NVIDIA's own idle services."""
    users = []
    for process in Path(root, "proc").glob("[0-9]*"):
        try:
            links = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        name = read_text(process / "comm") or "?"
        holds = any(re.fullmatch(r"/dev/nvidia\d+", link) for link in links)
        # The kernel cuts names at 15 characters.
        if holds and not any(holder.startswith(name) for holder in IDLE_HOLDERS):
            users.append(f"{process.name} {name}")
    return sorted(users, key=lambda user: int(user.split()[0]))


def is_loaded(module: str, root: AnyPath = "/") -> bool:
    """Whether a kernel module is loaded."""
    return Path(root, "sys/module", module).is_dir()


def headers_are_present(kernel: str, root: AnyPath = "/") -> bool:
    """Whether modules can be built for ``kernel``."""
    return Path(root, "lib/modules", kernel, "build").exists()


def headers_meta_packages() -> list[str]:
    """The packages that bring headers along with each new kernel, e.g. ``linux-headers-amd64``."""
    query = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", "linux-image-*")
    headers = []
    for line in run(*query)[1].splitlines():
        status, _, package = line.partition(" ")
        flavour = package[len("linux-image-") :]
        is_meta = flavour[:1].isalpha() and not flavour.startswith(("unsigned-", "extra-"))
        if status == "installed" and is_meta and not flavour.endswith("-dbg"):
            headers.append(f"linux-headers-{flavour}")
    return headers


def initramfs_tool() -> str | None:
    """The command that rebuilds the initramfs; ``None`` on a host without one."""
    for tool in ("update-initramfs", "dracut"):
        if shutil.which(tool):
            return tool
    return None


def packages_were_interrupted(root: AnyPath = "/") -> bool:
    """Whether dpkg was stopped half-way, so that apt refuses to work."""
    updates = Path(root, "var/lib/dpkg/updates")
    if not updates.is_dir():
        return False
    pending = any(entry.name.isdigit() for entry in updates.iterdir())
    return pending or bool(run("dpkg", "--audit")[1])


def os_release(root: AnyPath = "/") -> dict[str, str]:
    """``ID``, ``VERSION_ID`` and the rest of /etc/os-release, in lower-case keys."""
    release: dict[str, str] = {}
    for line in (read_text(Path(root, "etc/os-release")) or "").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            release[key.strip().lower()] = value.strip().strip("\"'")
    return release


def free_mib(path: AnyPath, root: AnyPath = "/") -> int:
    """Free space in MiB of the file system that will hold ``path``."""
    place = Path(root, str(path).lstrip("/"))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free // 2**20


def read(root: AnyPath = "/") -> dict[str, Any]:
    """Everything that the roles decide by, as a plain dict."""
    kernel = os.uname().release
    version, modules = on_disk(kernel)
    secure = secure_boot(root)
    return {
        "gpus": [{"address": gpu.address, "device": gpu.device} for gpu in gpus(root)],
        "kernel": kernel,
        "machine": os.uname().machine,
        "loaded_version": loaded_version(root),
        "loaded_modules": loaded_modules(root),
        "on_disk_version": version,
        "on_disk_modules": modules,
        "nouveau_loaded": is_loaded("nouveau", root),
        "secure_boot": secure,
        "signing_key_enrolled": signing_key_is_enrolled(root) if secure else None,
        "gpu_users": users_of_gpus(root),
        "headers_present": headers_are_present(kernel, root),
        "headers_meta_packages": headers_meta_packages(),
        "initramfs_tool": initramfs_tool(),
        "packages_interrupted": packages_were_interrupted(root),
        "os": os_release(root),
    }
