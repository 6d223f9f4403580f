"""Mounts in another process's mount namespace, within a container's root."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
CLONE_NEWNS = 0x00020000
MAX_LINKS = 40

_libc = ctypes.CDLL(None, use_errno=True)


class MountError(Exception):
    """A mount or namespace that the kernel refused; the text says which and why."""


def _check(result: int, what: str) -> None:
    if result != 0:
        raise MountError(f"{what}: {os.strerror(ctypes.get_errno()).lower()}")


def enter_namespace(pid: int) -> None:
    """Go into the mount namespace of a process, for good."""
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, CLONE_NEWNS), "namespace association failed")
    finally:
        os.close(fd)


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount operation failed: {target}")


def resolve(root: Path, path: str) -> Path:
    """Where ``path`` is below ``root``; no symbolic link leads out of it.

    Raises:
        MountError: too many symbolic links.
    """
    pending = [part for part in path.split("/") if part]
    resolved: list[str] = []
    links = 0
    while pending:
        part = pending.pop(0)
        if part in (".", ".."):
            resolved = resolved[:-1] if part == ".." else resolved
            continue
        here = root.joinpath(*resolved, part)
        if not here.is_symlink():
            resolved.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise MountError(f"path error: {path}: too many levels of symbolic links")
        target = os.readlink(here)  # noqa: PTH115 - as text: Path would drop a trailing dot
        resolved = [] if target.startswith("/") else resolved
        pending = [piece for piece in target.split("/") if piece] + pending
    return root.joinpath(*resolved)


def bind(source: str, root: Path, path: str, flags: int) -> None:
    """Bind the host's ``source`` at ``path`` below ``root``, making what is missing."""
    target = resolve(root, path)
    if stat.S_ISDIR(Path(source).stat().st_mode):
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o644)
    _mount(source, str(target), "", MS_BIND, "")
    _mount("", str(target), "", MS_BIND | MS_REMOUNT | flags, "")


def temporary(root: Path, path: str, flags: int) -> Path:
    """Mount an empty tmpfs at ``path`` below ``root``, which must exist; returns where."""
    target = resolve(root, path)
    _mount("tmpfs", str(target), "tmpfs", flags, "mode=0555")
    return target
