"""Files as they are declared: which differ from that, and making them so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils import originals
from ansible.module_utils.files import diff, differs_in_mode, read_text, write

APT_LISTS = Path("/var/lib/apt/lists")
MODE = 0o644


def is_as_wanted(path: str, content: str) -> bool:
    """Whether the file at ``path`` has ``content`` and mode 0644."""
    return read_text(path) == content and not differs_in_mode(path, MODE)


def apt_has_to_read(paths: Sequence[str]) -> bool:
    """Whether a file of apt's among ``paths`` was changed after apt's lists were."""
    if not APT_LISTS.is_dir():
        return False
    read = APT_LISTS.stat().st_mtime
    files = [Path(path) for path in paths if path.startswith("/etc/apt/")]
    return any(path.exists() and path.stat().st_ctime > read for path in files)


def bring_about(module: Any, present: Mapping[str, str], absent: Sequence[str]) -> dict[str, Any]:
    """Write and remove what has to be: ``changed_paths``, ``apt_has_to_read`` and ``diff``.

    In check mode, what would be.
    """
    to_write = [path for path, content in present.items() if not is_as_wanted(path, content)]
    to_remove = [path for path in absent if Path(path).is_file()]
    diffs = [diff(path, read_text(path), present.get(path)) for path in [*to_write, *to_remove]]
    if not module.check_mode:
        for path in to_write:
            write(module, path, present[path], MODE)
        for path in to_remove:
            originals.keep(path)
            Path(path).unlink()
    return {
        "changed_paths": [*to_write, *to_remove],
        "apt_has_to_read": bool(to_remove) or apt_has_to_read(list(present)),
        "diff": diffs,
    }
