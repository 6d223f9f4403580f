"""Reading small text files; no module is needed for it, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Union

AnyPath = Union[str, Path]  # noqa: UP007 - evaluated where Python is 3.9


def read_text(path: AnyPath) -> str | None:
    """The text of a file, to be looked at: what is not UTF-8 is replaced. ``None``: no file."""
    return _read(path, "replace")


def read_utf8(path: AnyPath) -> str | None:
    """The text of a file, to be written back. ``None``: no file.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return _read(path, "strict")


def _read(path: AnyPath, errors: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors=errors)
    except FileNotFoundError:
        return None


def differs_in_mode(path: AnyPath, mode: int) -> bool:
    """Whether the permission bits of the file at ``path`` are not ``mode``."""
    return (Path(path).stat().st_mode & 0o7777) != mode
