"""Reading small text files; no module is needed for it, and nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Union

AnyPath = Union[str, Path]  # noqa: UP007 - evaluated where Python is 3.9


def read_text(path: AnyPath) -> str | None:
    """The text of a file, ``None`` if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None


def differs_in_mode(path: AnyPath, mode: int) -> bool:
    """Whether the permission bits of the file at ``path`` are not ``mode``."""
    return (Path(path).stat().st_mode & 0o7777) != mode
