"""The ledger: what gpuhost keeps on a host about its own work there.

``run.json`` is the run that is at work, or that died (the host's lock);
``history.json`` what each run changed; ``baseline.json`` what was there before
the first one; ``originals/`` the files as they were then, ``mig-division.json``
how the GPUs were divided.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path("/var/lib/gpuhost/ledger")
RUN = "run.json"
HISTORY = "history.json"
BASELINE = "baseline.json"
# Says which role was last at work; its time is the run's last sign of life.
AT = "at"


def place(name: str) -> Path:
    """Where the entry ``name`` is."""
    return FOLDER / name


def read(name: str) -> Any:
    """The document ``name``; ``None`` if there is none, or it was cut short."""
    try:
        return json.loads(place(name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def save(name: str, document: Any) -> None:
    """Replace the document ``name`` in one step, on disk when this returns."""
    save_bytes(place(name), json.dumps(document, indent=1).encode())


def save_bytes(path: Path, data: bytes) -> None:
    """Replace the file at ``path``, readable by root only, in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, candidate = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    Path(candidate).replace(path)


def remove(name: str) -> None:
    """Remove the entry ``name``, if it is there."""
    if place(name).exists():
        place(name).unlink()


@contextmanager
def alone() -> Iterator[None]:
    """Let no other process read and write the ledger meanwhile."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with place("mutex").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
