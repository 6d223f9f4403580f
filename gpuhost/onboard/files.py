"""Replacing a file in one step: a reader sees the old content or the new, never half."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from gpuhost.errors import InventoryError

NEW_FILE_MODE = 0o644


def replace(path: Path, text: str) -> None:
    """Write the text in place of a file's content; its mode and owner stay.

    A file that is not there is made. Of a link, the file that it points to is replaced.

    Raises:
        InventoryError: it cannot be written.
    """
    real = Path(os.path.realpath(path))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            _take_after(real, stream.fileno())
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(real)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def require_writable(path: Path) -> None:
    """Raise InventoryError where :func:`replace` could not write the file."""
    folder = Path(os.path.realpath(path)).parent
    for needed in (folder, path):
        if needed.exists() and not os.access(needed, os.W_OK):
            raise InventoryError(
                f"{needed} cannot be written by this user.",
                f"Make it writable, or run this as its owner: {needed.owner()}",
            )


def _take_after(real: Path, descriptor: int) -> None:
    if not real.exists():
        os.fchmod(descriptor, NEW_FILE_MODE)
        return
    was = real.stat()
    os.fchmod(descriptor, was.st_mode & 0o7777)
    if (was.st_uid, was.st_gid) != (os.getuid(), os.getgid()):
        with suppress(PermissionError):
            os.fchown(descriptor, was.st_uid, was.st_gid)


def _unwritable(path: Path, error: OSError) -> InventoryError:
    return InventoryError(
        f"{path} cannot be written: {error.strerror or error}",
        "Nothing was changed in it. Free the disk or correct the permissions of its folder.",
    )
