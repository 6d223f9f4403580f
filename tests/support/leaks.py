"""Looking for a secret where it must not be: files, journals, command lines, environments."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

PROC = Path("/proc")
PAUSE_S = 0.02
# Of base64, as many characters at either end may be made of the secret's neighbours, too.
EDGE = 8

Execute = Callable[[str, Sequence[str], str], str]


def spellings(secret: str) -> list[bytes]:
    """The secret in clear, and in base64 wherever it stands in what was encoded."""
    found = [secret.encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"x" * (3 + shift) + secret.encode() + b"xxx")
        found.append(encoded[EDGE:-EDGE])
    return found


def files_with(folder: Path, secret: str) -> list[Path]:
    """The files in a folder that hold the secret; those that go away meanwhile are left out."""
    found = []
    # Not rglob, which ends with an error where a folder goes away under it.
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(OSError):
                if path.is_file() and holds(path.read_bytes(), secret):
                    found.append(path)
    return found


def holds(data: bytes, secret: str) -> bool:
    return any(spelling in data for spelling in spellings(secret))


def files_of_host_with(execute: Execute, host: str, secret: str) -> set[str]:
    """The files of a host's own file systems that hold the secret."""
    patterns = "".join(f"{spelling.decode()}\n" for spelling in spellings(secret))
    skip = [f"--exclude-dir={name}" for name in ("proc", "sys", "dev", "overlay2")]
    # The patterns go in by standard input: on a command line they would be what is looked for.
    script = f"grep -rlaF {' '.join(skip)} -f - / 2>/dev/null || true"
    return set(execute(host, ["sh", "-c", script], patterns).split())


def journal_has(execute: Execute, host: str, secret: str) -> bool:
    """Whether a host's journal holds the secret."""
    return holds(execute(host, ["journalctl", "--all", "-o", "export"], "").encode(), secret)


class Watch:
    """Looks at every process of this machine, rehearsal hosts included, while the block runs.

    ``leaks`` tells where the secret was seen; ``commands`` is what ran.
    """

    def __init__(self, secret: str, folder: Path) -> None:
        self._secret = secret
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.leaks: set[str] = set()
        self.commands: set[str] = set()
        self.rounds = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def kinds(self) -> set[str]:
        """Where the secret was seen, without the particulars."""
        return {leak.partition(":")[0] for leak in set(self.leaks)}

    def _look(self) -> None:
        while not self._done.wait(PAUSE_S):
            self.rounds += 1
            for process in PROC.glob("[0-9]*"):
                self._look_at(process)
            self.leaks |= {str(path) for path in files_with(self._folder, self._secret)}

    def _look_at(self, process: Path) -> None:
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            shown = command.replace(b"\0", b" ").decode(errors="replace")
            self.commands.add(shown)
            if holds(command, self._secret):
                self.leaks.add(f"command line: {shown}")
            if holds((process / "environ").read_bytes(), self._secret):
                self.leaks.add(f"environment of: {shown}")
