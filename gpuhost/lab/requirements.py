"""What the lab needs of this machine, checked before anything is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import cgroups, settings

# What must be found → the Debian package that has it.
PROGRAMS = {
    "apt-ftparchive": "apt-utils",
    "docker-registry": "docker-registry",
    "dpkg-deb": "dpkg",
    "gcc": "gcc",
    "gpg": "gnupg",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
FILES = {
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
# The programs of an administrator are not in every user's PATH.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_OVERLAY_TRIAL = 'mount -t overlay overlay -o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w" "$1/m"'
_NETWORK_TRIALS = {
    "bridges": "ip link add name trial type bridge",
    "virtual Ethernet pairs": "ip link add name trial type veth peer name trial2",
}


def check_requirements() -> None:
    """Raise LabError unless this user, this machine and its kernel can run the lab."""
    check_privilege()
    check_packages()
    cgroups.mount_point()
    check_overlay(settings.load().state)
    check_network()


def check_privilege() -> None:
    """Raise LabError for a user that is not root."""
    if os.geteuid() != 0:
        raise LabError(
            "The lab starts hosts, mounts and a bridge on this machine: that takes root.",
            "Run the same command with sudo.",
        )


def check_packages() -> None:
    """Raise LabError that names every Debian package that is missing."""
    if shutil.which("apt-get") is None:
        raise LabError(
            "The lab takes its hosts from the Debian mirror of apt: this machine has no apt.",
            "Use Debian 12 or later.",
        )
    missing = missing_packages(
        (name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None),
        (path for path in FILES if not Path(path).exists()),
    )
    if missing:
        raise LabError(
            f"The lab needs Debian packages that are not installed: {', '.join(missing)}.",
            f"Run: apt-get install --no-install-recommends {' '.join(missing)}",
        )


def missing_packages(programs: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
    """The packages that have these programs and files, each once, by name."""
    packages = {PROGRAMS[name] for name in programs} | {FILES[path] for path in files}
    return tuple(sorted(packages))


def check_overlay(state: Path) -> None:
    """Raise LabError where the kernel cannot mount an overlay over the state folder."""
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".overlay-", dir=state) as folder:
        for part in ("l", "u", "w", "m"):
            Path(folder, part).mkdir()
        refusal = _try_apart("--mount", _OVERLAY_TRIAL, folder)
    if refusal:
        raise LabError(
            f"This machine cannot mount an overlay over {state}: {refusal}",
            "Load the kernel module (modprobe overlay), or point GPUHOST_LAB_STATE to a folder "
            "on a plain file system such as ext4 or xfs.",
        )


def check_network() -> None:
    """Raise LabError where the kernel has no bridges or virtual Ethernet pairs."""
    for feature, trial in _NETWORK_TRIALS.items():
        refusal = _try_apart("--net", trial)
        if refusal:
            raise LabError(
                f"This machine's kernel cannot make {feature}: {refusal}",
                "Load the kernel modules: modprobe bridge veth",
            )


def _try_apart(namespace: str, script: str, *words: str) -> str:
    """Run a shell script in a namespace of its own; what it complained of, if it failed."""
    trial = subprocess.run(
        ["unshare", namespace, "sh", "-c", script, "sh", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if trial.returncode == 0 else trial.stderr.strip() or f"ended {trial.returncode}"
