"""Folders that are built once for a key and again only when the key changes."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_KEY_FILE = ".key"


def key_of(*parts: str | Path) -> str:
    """A key over texts, and over the contents of files and of folders (without caches)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            _feed(digest, "text", part.encode())
            continue
        files = sorted(part.rglob("*")) if part.is_dir() else [part]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                _feed(digest, file.relative_to(part.parent).as_posix(), file.read_bytes())
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, name: str, content: bytes) -> None:
    # Lengths first, so that no two different lists of parts read the same.
    digest.update(f"{len(name)} {len(content)} {name}".encode())
    digest.update(content)


def is_built(target: Path, key: str) -> bool:
    """Whether ``target`` was built for this very key."""
    stamp = target / _KEY_FILE
    return stamp.is_file() and stamp.read_text() == key


def ensure_built(target: Path, key: str, build: Callable[[Path], Path]) -> bool:
    """Make ``target`` hold what ``build`` makes for ``key``; whether that took building.

    ``build`` gets an empty scratch folder beside the target and returns the
    folder (that one, or one inside it) which then takes the target's place: a
    build that fails or is interrupted leaves the old target alone.
    """
    if is_built(target, key):
        return False
    scratch = target.with_name(f".{target.name}.new")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    scratch.mkdir(parents=True)
    built = build(scratch)
    (built / _KEY_FILE).write_text(key)
    if target.exists():
        target.rename(old)
    built.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return True


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the named lock in ``folder``: two runs of the lab never build the same thing at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
