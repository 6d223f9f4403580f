"""Base root file systems: a bare Debian server for each release, made once and shared.

Hosts lie over a base and never write to it. It holds what a minimal Debian
server installation has, and nothing of what the roles install.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpuhost.lab import debian, keyed
from gpuhost.lab.commands import run
from gpuhost.lab.releases import Release
from gpuhost.lab.rhel import PLUGIN_FILES

OPERATOR = "ops"
DOCKER_USER = "alice"

PACKAGES = (
    "ca-certificates",
    "dbus",
    "gnupg",
    "initramfs-tools",
    "iproute2",
    "iptables",
    "kmod",
    "openssh-server",
    "pciutils",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
# What takes the place of apt on a host that dnf looks after, and what else it has not.
_DNF_PACKAGES = ("dnf", "dnf-plugins-core", "rpm")
_NOT_WITH_DNF = ("initramfs-tools", "python3-apt")
_OF_DPKG = ("etc/apt", "etc/debian_version", "usr/bin/apt*", "usr/bin/dpkg*", "usr/sbin/dpkg*")
# Manuals and translations are a third of a small system, and nobody reads them here.
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "force-unsafe-io",
)
_ENABLED_UNITS = ("systemd-networkd.service", "ssh.service")
# What would wait for something that a lab host has not, or work behind a test's back.
_MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-networkd-wait-online.service",
)
_FILES: Mapping[str, tuple[int, str]] = {
    "etc/sudoers.d/gpuhost-lab": (0o440, f"{OPERATOR} ALL=(ALL:ALL) NOPASSWD: ALL\n"),
    "etc/ssh/sshd_config.d/gpuhost-lab.conf": (
        0o644,
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\n",
    ),
    "etc/systemd/journald.conf.d/gpuhost-lab.conf": (0o644, "[Journal]\nStorage=volatile\n"),
    "etc/resolv.conf": (0o644, ""),
}
# Made anew for each host, or of no use in a container.
_UNWANTED = ("etc/ssh/ssh_host_*", "etc/apt/sources.list", "etc/apt/sources.list.d/*", "etc/fstab")


@dataclass(frozen=True)
class Base:
    """A base that is ready: its release and the file system's folder."""

    release: Release
    root: Path

    @property
    def dpkg_status(self) -> Path:
        """The package database: what a host has before anything is installed on it."""
        return self.root / "var" / "lib" / "dpkg" / "status"


def ensure(cache: Path, release: Release, progress: Callable[[str], None]) -> Base:
    """The base of a release, built where the cache has none of this recipe.

    Raises LabError where Debian's mirror cannot be reached.
    """
    key = keyed.key_of(release.suite, *release.identity.values(), Path(__file__))
    target = cache / "base" / f"{release.name}-{key[:12]}"
    with keyed.locked(cache, f"base-{release.name}"):
        if not keyed.is_built(target, key):
            progress(f"Building the base system of {release.name} (once, about a minute)")
            keyed.ensure_built(target, key, lambda scratch: _build(scratch, release))
    return Base(release, target / "root")


def _build(scratch: Path, release: Release) -> Path:
    root = scratch / "root"
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--format=directory",
            f"--include={','.join(_packages(release))}",
            '--aptopt=Acquire::Languages "none"',
            *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
            release.suite,
            root,
            "-",
        ],
        purpose=f"Building the base system of {release.name}",
        remedy="Check that this machine's own apt works: apt-get update",
        stdin=debian.sources(release.suite),
    )
    _furnish(root, release)
    return scratch


def _packages(release: Release) -> list[str]:
    if release.system.kind == "deb":
        return list(PACKAGES)
    return [*(name for name in PACKAGES if name not in _NOT_WITH_DNF), *_DNF_PACKAGES]


def _leave_to_dnf(root: Path) -> None:
    """Have nothing in a host tell that its programs are Debian's and came through dpkg."""
    _in(root, "rpm", "--initdb")
    for path in [path for pattern in _OF_DPKG for path in root.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    # The distribution has it as a package that a role installs.
    for name in PLUGIN_FILES:
        (root / name).unlink()


def _furnish(root: Path, release: Release) -> None:
    for pattern in _UNWANTED:
        for path in root.glob(pattern):
            path.unlink()
    for name, (mode, text) in _FILES.items():
        write(root / name, text, mode)
    for name, text in release.identity.items():
        write(root / name, text)
    for unit in _MASKED_UNITS:
        link = root / "etc" / "systemd" / "system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for user in (OPERATOR, DOCKER_USER):
        _in(root, "useradd", "--create-home", "--shell", "/bin/bash", user)
    _in(root, "systemctl", "--quiet", "enable", *_ENABLED_UNITS)
    if release.system.kind == "rpm":
        _leave_to_dnf(root)
    _mark_updated(root)


def _mark_updated(root: Path) -> None:
    """Save each host the work of a first boot (linker cache, message catalogues).

    systemd does it where these files are older than /usr.
    """
    changed = (root / "usr").stat().st_mtime_ns
    for folder in ("etc", "var"):
        stamp = root / folder / ".updated"
        write(stamp, f"TIMESTAMP_NSEC={changed}\n")
        os.utime(stamp, ns=(changed, changed))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file of a root file system, in the place of a link if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def _in(root: Path, *argv: str) -> None:
    run(["chroot", root, *argv], purpose=f"Furnishing the base system: {argv[0]}")
