"""Section ``provisioning``: what only a plan asks: files, packages, stamps."""

from __future__ import annotations

import hashlib
import stat
import time
from fnmatch import fnmatchcase
from typing import Dict, Optional

from gpuhost.probe import packages
from gpuhost.probe.context import Context
from gpuhost.probe.masking import without_passwords
from gpuhost.probe.root import Root
from gpuhost.probe.run import which
from gpuhost.probe.schema import Command, ConfigFile, Provisioning

STAMPS = "/var/lib/gpuhost/stamps"
LEDGER = "/var/lib/gpuhost/ledger"
PERSISTENCED_UNIT = "/usr/lib/systemd/system/nvidia-persistenced.service"
# Where the roles write and remove files.
FOLDERS = (
    "/etc/apt/sources.list.d",
    "/etc/apt/preferences.d",
    "/etc/apt/apt.conf.d",
    "/etc/apt/keyrings",
    "/etc/modprobe.d",
    "/etc/yum.repos.d",
    "/etc/pki/rpm-gpg",
    "/etc/systemd/system/nvidia-persistenced.service.d",
    "/etc/systemd/system/nvidia-mig-manager.service.d",
    "/etc/nvidia-mig-manager",
)
# Names of those that they write, and up to which size a plan shows what becomes of them.
WRITTEN = ("*gpuhost*", "nvidia-cuda.*", "docker*.sources", "docker-ce.repo", "*-toolkit.*")
LARGEST = 16 << 10
# What dockerd reads at its start.
READ_AT_START = (
    "/etc/docker/daemon.json",
    "/usr/bin/nvidia-container-runtime",
    "/usr/bin/nvidia-container-runtime-hook",
)


def collect(context: Context) -> Provisioning:
    """Read the section."""
    root = context.root
    paths = [path for folder in FOLDERS for path in root.list(folder)]
    files = [config_file(root, path) for path in [*paths, *READ_AT_START]]
    installed = packages.installed(context, ["*"])
    return {
        "stamps": stamps(root),
        "run": root.read(f"{LEDGER}/run.json"),
        "history": root.read(f"{LEDGER}/history.json"),
        "files": [file for file in files if file],
        "packages": installed,
        "streams": streams(root),
        "persistenced_unit": root.read(PERSISTENCED_UNIT),
        "candidates": candidates(context),
        "lists_read": any(root.list("/var/lib/apt/lists", "*_Packages*")),
        "dockerd_started_at": dockerd_started_at(context),
    }


def stamps(root: Root) -> Dict[str, str]:
    """The text of each component's stamp."""
    found = {}
    for path in root.list(STAMPS, "*.json"):
        name = path.rpartition("/")[2]
        found[name[: -len(".json")]] = root.read(path) or ""
    return found


def streams(root: Root) -> Dict[str, str]:
    """The enabled stream of each of dnf's modules that has one."""
    found = {}
    for path in root.list("/etc/dnf/modules.d", "*.module"):
        lines = (root.read(path) or "").splitlines()
        told = dict(line.partition("=")[::2] for line in lines if "=" in line)
        if told.get("state") == "enabled" and told.get("stream"):
            found[told.get("name") or path.rpartition("/")[2][: -len(".module")]] = told["stream"]
    return found


def config_file(root: Root, path: str) -> Optional[ConfigFile]:
    """A file with its mode and when it last changed in any way; None if it is no file."""
    try:
        status = root.path(path).stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return {
        "path": path,
        "mode": format(stat.S_IMODE(status.st_mode), "04o"),
        "changed_at": status.st_ctime,
        "sha256": _sha256(root, path),
        "text": written_text(root, path) if status.st_size <= LARGEST else None,
    }


def written_text(root: Root, path: str) -> Optional[str]:
    """The text of a file that has the name of one that the roles write; of others, none."""
    if not any(fnmatchcase(path.rpartition("/")[2], name) for name in WRITTEN):
        return None
    text = root.read(path)
    return None if text is None else without_passwords(text)


def _sha256(root: Root, path: str) -> Optional[str]:
    try:
        return hashlib.sha256(root.path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def candidates(context: Context) -> Optional[Command]:
    """What the package manager would choose from for the packages asked for."""
    names = context.spec["packages"]
    if not names:
        return None
    if which("apt-cache"):
        return context.run(["apt-cache", "policy", *names])
    if which("dnf"):
        # From what it has in its cache: a plan reads, it downloads nothing and waits for nobody.
        query = ["--cacheonly", "--setopt=exit_on_lock=1", "--available"]
        query += ["--qf", "%{name} %{version}-%{release}\n"]
        # Also what a branch has whose stream of modules is not the enabled one.
        query.append("--setopt=*.module_hotfixes=1")
        return context.run(["dnf", "--quiet", "repoquery", *query, *names])
    return None


def dockerd_started_at(context: Context) -> Optional[float]:
    """When the running dockerd was started, in seconds since the epoch; None if none runs."""
    properties = "ActiveState,ExecMainStartTimestampMonotonic"
    answer = context.run(["systemctl", "show", "docker.service", "--property", properties])
    found = dict(line.partition("=")[::2] for line in answer["stdout"].splitlines())
    if found.get("ActiveState") != "active":
        return None
    since_boot = int(found.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
    return time.time() - time.monotonic() + since_boot
