"""Files that others read at any time."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file in one step: a reader sees the old content or the new, never half.

    ``mode`` None leaves the file's mode to the umask.

    Raises:
        OSError: it cannot be written.
    """
    # Collectors read what ends as the file's name does; this name begins with a dot.
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    if mode is not None:
        fresh.chmod(mode)
    fresh.replace(path)
