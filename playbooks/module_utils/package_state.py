"""What a host has of package managers, and what in them stands in the way; changes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .driver_state import read_text, run
from .texts import AnyPath

# Locked by the process that works: dpkg's, apt's, and those of two versions of rpm.
LOCKS = (
    *("var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock"),
    *("var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"),
)
# dnf's: the process that works has written its number into them.
NAMING_LOCKS = (
    *("var/lib/dnf/rpmdb_lock.pid", "var/cache/dnf/metadata_lock.pid"),
    "var/cache/dnf/download_lock.pid",
)
FLOCK = "hhqqi4x"  # struct flock where files have 64 bits
SOURCE_LISTS = ("etc/apt/sources.list", "etc/apt/sources.list.d")

# Files of sources that the roles write anew or remove, so that their keys do not matter.
REPLACED_SOURCES = re.compile(
    r"(docker|nvidia-cuda|nvidia-container-toolkit|libnvidia-container|nvidia-container-runtime"
    r"|nvidia-docker|cuda(-[a-z]+\d+-\w+)?)\.(list|sources)"
)
# As the roles docker_ce and nvidia_container_toolkit have them, on Debian's and Red Hat's families.
CONFLICTING = (
    "docker.io",
    "docker-buildx",
    "docker-cli",
    "docker-compose",
    "docker-compose-v2",
    "docker-doc",
    "podman-docker",
    "containerd",
    "runc",
)
RPM_CONFLICTING = (
    *("docker", "docker-client", "docker-client-latest", "docker-common"),
    *("docker-latest", "docker-latest-logrotate", "docker-logrotate", "docker-engine"),
    *("podman-docker", "containerd", "runc"),
)
LEGACY = ("nvidia-docker", "nvidia-docker2", "nvidia-container-runtime")

DISTRIBUTION = re.compile(r"@[\w.-]*(debian\.(org|net)|ubuntu\.com|canonical\.com)", re.IGNORECASE)
# What only a driver has; and everything that is built from it and goes with it.
DRIVER = re.compile(
    r"nvidia-(driver|kernel|open-kernel|dkms|alternative|headless|utils|smi|kernel-common|current"
    r"|firmware|persistenced|vdpau|legacy-check)\b|libnvidia-|libcuda1$|firmware-nvidia-"
    r"|linux-(modules|objects|signatures)-nvidia-|xserver-xorg-video-nvidia|libgl\w*-nvidia|libegl-nvidia"
)
NOT_THE_DRIVER = re.compile(r"container|nvidia-docker|nvidia-cuda-toolkit")
NEEDED_BY = re.compile(r"is needed by \(installed\) (\S+)$", re.MULTILINE)
RPM_DRIVER = re.compile(r"akmod-nvidia|xorg-x11-drv-nvidia")
UNINSTALLERS = ("/usr/bin/nvidia-uninstall", "/usr/bin/nvidia-installer")


def lock(root: AnyPath = "/") -> dict[str, Any] | None:
    """Who keeps the package manager locked: ``path``, ``pid``, ``process``; ``None`` if nobody."""
    for name in (*LOCKS, *NAMING_LOCKS):
        path = Path(root, name)
        pid = named_holder(path, root) if name in NAMING_LOCKS else holder(path)
        if pid:
            process = read_text(Path(root, "proc", str(pid), "comm")) or "?"
            return {
                "path": f"/{name}",
                "pid": pid,
                "process": f"{process}, pid {pid}",
                "waited_s": 0,
            }
    return None


def holder(path: Path) -> int | None:
    """The process that has a file locked as apt locks it; ``None`` if it is free."""
    try:
        with path.open("r+b") as stream:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
    except OSError as error:
        # Neither a host without apt nor a reader that is not root can tell.
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return None
    return pid if kind != fcntl.F_UNLCK else None


def named_holder(path: Path, root: AnyPath = "/") -> int | None:
    """The process that a lock of dnf's names; ``None`` if it is gone, as dnf itself sees it."""
    text = read_text(path) or ""
    is_there = text.isdigit() and Path(root, "proc", text).exists()
    return int(text) if is_there else None


def broken_packages() -> list[str]:
    """What apt says of installed packages whose dependencies are not met."""
    if shutil.which("apt-get") is None:
        return []
    status, words = run("apt-get", "--simulate", "check")
    if status == 0:
        return []
    lines = [line.strip() for line in words.splitlines()]
    return [line for line in lines if " : " in line]


def replaced_packages() -> list[str]:
    """The installed packages that the roles may have to remove; only dpkg or rpm is asked."""
    return sorted(set(_names()) & {*_conflicting(), *LEGACY, "podman"})


def removed_with_conflicts(replaced: Sequence[str]) -> list[str]:
    """Packages that would go with those of ``replaced`` that conflict with Docker's.

    They need them; ``replaced`` is from :func:`replaced_packages`.
    """
    conflicting = [name for name in replaced if name in _conflicting()]
    if not conflicting:
        return []
    with_them = _removed_by_apt if shutil.which("apt-get") else _removed_by_rpm
    return sorted(with_them(conflicting) - {*_conflicting(), *LEGACY})


def _removed_by_apt(names: Sequence[str]) -> set[str]:
    fix = ("--option", "APT::Get::Fix-Broken=true")
    _, words = run("apt-get", "--simulate", *fix, "remove", *names)
    return set(re.findall(r"^Remv (\S+)", words, re.MULTILINE))


def _removed_by_rpm(names: Sequence[str]) -> set[str]:
    """These, those that need them, those that need these, and so on."""
    going: set[str] = set()
    needing = set(names)
    while needing - going:
        going |= needing
        words = _complaints("rpm", "--erase", "--test", *sorted(going))
        needing = {package.rsplit("-", 2)[0] for package in NEEDED_BY.findall(words)}
    return going


def _complaints(*argv: str) -> str:
    """What a command writes on standard error, in English."""
    done = subprocess.run(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.stderr.decode(errors="replace")


def _conflicting() -> Sequence[str]:
    return CONFLICTING if shutil.which("dpkg-query") else RPM_CONFLICTING


def _names() -> list[str]:
    """The name of every installed package."""
    if shutil.which("dpkg-query"):
        return [name for name, _, _ in _packages()]
    return run("rpm", "-qa", "--qf", "%{NAME}\n")[1].splitlines()


def distribution_driver() -> list[str]:
    """The installed packages of a driver that the distribution made, not NVIDIA."""
    if shutil.which("dpkg-query") is None:
        return sorted(name for name in _names() if RPM_DRIVER.match(name))
    return sorted(
        name
        for name, _, maintainer in _packages()
        if DRIVER.match(name)
        and not NOT_THE_DRIVER.search(name)
        and DISTRIBUTION.search(maintainer)
    )


def _packages() -> list[tuple[str, str, str]]:
    """Name, version and maintainer of every installed package."""
    fields = "${db:Status-Status}\t${Package}\t${Version}\t${Maintainer}\n"
    _, listed = run("dpkg-query", "-W", "-f", fields)
    rows = [line.split("\t") for line in listed.splitlines()]
    return [
        (row[1], row[2], row[3]) for row in rows if row[0] not in ("not-installed", "config-files")
    ]


def runfile_driver(root: AnyPath = "/") -> str | None:
    """The uninstaller that NVIDIA's .run installer left; ``None`` if there is none."""
    for program in UNINSTALLERS:
        if Path(root, program[1:]).exists() and not _has_owner(program):
            return program
    return None


def _has_owner(path: str) -> bool:
    if shutil.which("dpkg-query"):
        return run("dpkg-query", "--search", path)[0] == 0
    return run("rpm", "-qf", path)[0] == 0


def docker_snap(root: AnyPath = "/") -> str | None:
    """The file of a snap of Docker; ``None`` if there is none."""
    found = sorted(Path(root, "var/lib/snapd/snaps").glob("docker_*.snap"))
    return f"/{found[-1].relative_to(root)}" if found else None


def unusable_sources(root: AnyPath = "/") -> list[dict[str, Any]]:
    """Sources of apt's whose key apt does not take: ``file``, ``key`` and ``problem``.

    ``replaced`` says that the file is one that the roles write anew or remove.
    """
    if shutil.which("gpg") is None:
        return []
    problems: dict[str, str] = {}
    found = []
    for path in source_files(root):
        for key in signed_by(read_text(path) or ""):
            if key not in problems:
                problems[key] = key_problem(Path(root, key.lstrip("/")))
            if problems[key]:
                found.append(
                    {
                        "file": f"/{path.relative_to(root)}",
                        "key": key,
                        "problem": problems[key],
                        "replaced": bool(REPLACED_SOURCES.fullmatch(path.name)),
                    }
                )
    return found


def source_files(root: AnyPath) -> Iterator[Path]:
    """The files that list apt's sources."""
    single, folder = (Path(root, name) for name in SOURCE_LISTS)
    if single.is_file():
        yield single
    yield from sorted(p for p in folder.glob("*") if p.suffix in (".list", ".sources"))


def signed_by(text: str) -> list[str]:
    """The key files that the enabled sources in a list, of either format, name; each once."""
    names: list[str] = []
    for stanza in re.split(r"\n\s*\n", text):
        if re.search(r"^Enabled:\s*(no|false|0|off)\s*$", stanza, re.IGNORECASE | re.MULTILINE):
            continue
        names += re.findall(r"^Signed-By:\s*(/\S+)", stanza, re.IGNORECASE | re.MULTILINE)
        for options in re.findall(r"^\s*deb(?:-src)?\s+\[([^]]*)\]", stanza, re.MULTILINE):
            names += re.findall(r"signed-by=(/[^\s,\]]+)", options)
    return list(dict.fromkeys(names))


def key_problem(path: Path) -> str:
    """Why apt takes no key of a file; empty if there is one that it takes."""
    if not path.exists():
        return "is missing"
    status, listed = run("gpg", "--batch", "--with-colons", "--show-keys", str(path))
    validities = [line.split(":")[1] for line in listed.splitlines() if line.startswith("pub:")]
    if not validities:
        return "holds no key" if status > 0 else ""
    return "has expired" if all(validity in ("e", "r") for validity in validities) else ""


def read_only(paths: Sequence[str], root: AnyPath = "/") -> list[str]:
    """Those of ``paths`` that lie on a file system that is mounted read-only."""
    found = []
    for path in paths:
        place = Path(root, path.lstrip("/"))
        if place.exists() and os.statvfs(place).f_flag & os.ST_RDONLY:
            found.append(path)
    return found
