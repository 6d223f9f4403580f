"""How far an onboarding has come: kept in the state folder, so that the next run goes on there."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpuhost.errors import GpuhostError
from gpuhost.files import replace_text

SCHEMA_VERSION = 1
FOLDER = "onboard"


class BusyError(GpuhostError):
    """Another onboarding of the same host is at work."""


class Progress:
    """The stages of one host that are done, each with what it found out.

    What is kept counts only for the same host in the same place
    (``identity``): of another onboarding nothing is taken over.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path = path
        self._identity = dict(identity)
        self._done: dict[str, Any] = {}
        kept = _read(path)
        if kept.get("identity") == self._identity and kept.get("schema_version") == SCHEMA_VERSION:
            self._done = dict(kept["done"])

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that are done, in order."""
        return tuple(self._done)

    def found(self, stage: str) -> Any:
        """What a stage found out; None where it is not done."""
        return self._done.get(stage)

    def keep(self, stage: str, found: Any) -> None:
        """A stage is done."""
        self._done[stage] = found
        document = {
            "schema_version": SCHEMA_VERSION,
            "identity": self._identity,
            "done": self._done,
        }
        replace_text(self._path, json.dumps(document, indent=1) + "\n", mode=0o600)

    def restart(self, but: str) -> None:
        """Forget every stage but one, if that is done."""
        kept = {but: self._done[but]} if but in self._done else {}
        self._done = {}
        self._path.unlink(missing_ok=True)
        for stage, found in kept.items():
            self.keep(stage, found)


@contextmanager
def begin(state_dir: Path, name: str, identity: Mapping[str, Any]) -> Iterator[Progress]:
    """The progress of one host, nobody else's for as long as the block runs.

    Raises:
        BusyError: another process is onboarding it.
    """
    folder = state_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"Another `gpuhost onboard {name}` is at work.", "Wait for it to end."
            ) from error
        yield Progress(folder / f"{name}.json", identity)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
