"""What files were before gpuhost first touched them, kept so that they can be put back.

Only within a run that took the host's lock (:mod:`run_lock`): elsewhere nothing is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Union

from ansible.module_utils import ledger_store
from ansible.module_utils.run_lock import RUN_VARIABLE

AnyPath = Union[str, Path]  # noqa: UP007 - evaluated where Python is 3.9

FOLDER = "originals"
INDEX = f"{FOLDER}/index.json"


def index() -> dict[str, Any]:
    """What was noted.

    ``files``: by path, the copy's name (``None``: there was no file), mode and owner;
    ``folders``: those that were made; ``members``: by group, users that were
    added; ``declared``: by path, the keys that were merged into a JSON file;
    ``copies``: copies that were left beside a file.
    """
    noted = ledger_store.read(INDEX) or {}
    empty = {"files": {}, "folders": [], "members": {}, "declared": {}, "copies": []}
    return {**empty, **noted}


def keep(path: AnyPath) -> None:
    """Keep the file at ``path``, unless that has been done; to be called before it is touched."""
    if not os.environ.get(RUN_VARIABLE):
        return
    noted, path = index(), Path(path)
    if str(path) in noted["files"]:
        return
    noted["folders"] += [
        str(folder)
        for folder in path.parents
        if not folder.exists() and str(folder) not in noted["folders"]
    ]
    noted["files"][str(path)] = _kept(path, f"{len(noted['files']):04}")
    ledger_store.save(INDEX, noted)


def _kept(path: Path, name: str) -> dict[str, Any]:
    if not path.exists():
        return {"copy": None}
    ledger_store.save_bytes(ledger_store.place(FOLDER) / name, path.read_bytes())
    status = path.stat()
    return {
        "copy": name,
        "mode": status.st_mode & 0o7777,
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def note_member(group: str, user: str) -> None:
    """Note that ``user`` is about to be added to ``group``."""
    if os.environ.get(RUN_VARIABLE):
        noted = index()
        users = noted["members"].setdefault(group, [])
        noted["members"][group] = sorted({*users, user})
        ledger_store.save(INDEX, noted)


def note_declared(path: AnyPath, merged: Any) -> None:
    """Note what is about to be merged into ``path``, on top of what ever was: ``merged(noted)``."""
    if os.environ.get(RUN_VARIABLE):
        noted = index()
        noted["declared"][str(path)] = merged(noted["declared"].get(str(path), {}))
        ledger_store.save(INDEX, noted)


def note_copy(path: AnyPath) -> None:
    """Note a copy that was left beside a file."""
    if os.environ.get(RUN_VARIABLE) and path:
        noted = index()
        noted["copies"].append(str(path))
        ledger_store.save(INDEX, noted)
