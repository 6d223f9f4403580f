"""Reading and atomically writing small text files from a module."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils import originals
from ansible.module_utils.texts import AnyPath, differs_in_mode, read_text, read_utf8

__all__ = ["AnyPath", "diff", "differs_in_mode", "read_text", "read_utf8", "write"]


def write(module: Any, path: AnyPath, content: str | bytes, mode: int = 0o644) -> None:
    """Replace the file at ``path`` by ``content`` (str or bytes) in one step; folders are made."""
    path = Path(path)
    originals.keep(path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, candidate = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    Path(candidate).chmod(mode)
    module.atomic_move(candidate, str(path))
    # Moving keeps the mode of a file that was there.
    path.chmod(mode)


def diff(path: AnyPath, before: str | None, after: str | None) -> dict[str, str]:
    """One entry of a module's ``diff``; ``None`` stands for "no file"."""
    return {
        "before_header": str(path),
        "after_header": str(path),
        "before": before or "",
        "after": after or "",
    }
