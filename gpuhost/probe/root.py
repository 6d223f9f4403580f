"""The host's file tree: what a section reads, it reads through a :class:`Root`."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from gpuhost.probe.schema import DeviceNode, FileText

FILE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Root:
    """A tree that has the layout of a Linux host; the host itself by default."""

    base: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """Where ``absolute``, a path as the host knows it, lies."""
        return self.base / absolute.lstrip("/")

    def read(self, absolute: str) -> Optional[str]:
        """The stripped text of a file, or None where it cannot be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip()
        except OSError:
            return None

    def file(self, absolute: str) -> FileText:
        """A whole file, cut at 1 MiB, or why it could not be read."""
        found: FileText = {"path": absolute, "exists": True, "text": None, "error": None}
        try:
            with self.path(absolute).open("rb") as stream:
                found["text"] = stream.read(FILE_LIMIT_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            found["exists"] = False
        except OSError as error:
            found["error"] = str(error)
        return found

    def list(self, absolute: str, pattern: str = "*") -> List[str]:
        """The paths in a folder that match, sorted; none where there is no such folder."""
        try:
            names = sorted(entry.name for entry in self.path(absolute).glob(pattern))
        except OSError:
            return []
        return [f"{absolute.rstrip('/')}/{name}" for name in names]

    def exists(self, absolute: str) -> bool:
        """Whether the path is there and can be looked at."""
        return os.path.exists(self.path(absolute))  # noqa: PTH110 — Path.exists raises on EACCES

    def link(self, absolute: str) -> Optional[str]:
        """What a symbolic link points to."""
        try:
            return os.readlink(self.path(absolute))  # noqa: PTH115 — 3.9 too
        except OSError:
            return None

    def link_name(self, absolute: str) -> Optional[str]:
        """The last part of what a symbolic link points to."""
        target = self.link(absolute)
        return None if target is None else target.rsplit("/", 1)[-1]

    def device_node(self, absolute: str) -> Optional[DeviceNode]:
        """A character device's numbers and mode, or None if it is not one."""
        try:
            status = self.path(absolute).stat()
        except OSError:
            return None
        if not stat.S_ISCHR(status.st_mode):
            return None
        return {
            "path": absolute,
            "major": os.major(status.st_rdev),
            "minor": os.minor(status.st_rdev),
            "mode": format(stat.S_IMODE(status.st_mode), "04o"),
        }
