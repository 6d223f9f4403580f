"""How GPUs were divided before gpuhost divided them: kept in the ledger, to be put back.

The note is a configuration of nvidia-mig-parted's, so that it is the one to compare and to apply
it. Only within a run that took the host's lock (:mod:`run_lock`): elsewhere nothing is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils import driver_state, ledger_store
from ansible.module_utils.run_lock import RUN_VARIABLE

PROGRAM = "nvidia-mig-parted"
NOTE = "mig-division.json"
# The layouts of the note: that before the first one of gpuhost's, and the last one that it made.
BEFORE, MADE = "before", "made"

# A command to what it ended with: status, output, errors.
Run = Callable[[Sequence[str]], tuple[int, str, str]]


class DivisionError(Exception):
    """nvidia-mig-parted does not do what it was asked to; the text is what it says."""


def layouts() -> Mapping[str, Any]:
    """The layouts that are on record; none where gpuhost has not divided anything."""
    found: Mapping[str, Any] = (ledger_store.read(NOTE) or {}).get("mig-configs", {})
    return found


def keep(run: Run, entries: Sequence[Mapping[str, Any]]) -> None:
    """Note how GPUs are divided now, unless that has been done, and that they become ``entries``.

    Raises:
        DivisionError: How they are divided could not be read.
    """
    if not os.environ.get(RUN_VARIABLE):
        return
    noted = {**layouts(), MADE: entries}
    if BEFORE not in noted:
        noted[BEFORE] = _current(run)
    ledger_store.save(NOTE, {"version": "v1", "mig-configs": noted})


def _current(run: Run) -> Any:
    status, out, err = run([PROGRAM, "export", "--output-format", "json"])
    if status:
        raise DivisionError(err.strip())
    try:
        (entries,) = json.loads(out)["mig-configs"].values()
    except (ValueError, KeyError, TypeError) as error:
        raise DivisionError(f"its export is not as expected ({error!r}): {out.strip()}") from error
    return entries


def has(run: Run, layout: str) -> bool:
    """Whether the GPUs are divided as one of the layouts on record."""
    return _asked(run, "assert", layout)[0] == 0


def put_back(run: Run) -> None:
    """Divide the GPUs as they were before gpuhost.

    Raises:
        DivisionError: That is not possible now; nothing of it is certain to be done.
    """
    users = driver_state.users_of_gpus()
    if users:
        raise DivisionError(f"they are in use by {', '.join(users)}")
    status, out, err = _asked(run, "apply", BEFORE)
    if status or not has(run, BEFORE):
        raise DivisionError((err or out).strip() or "nvidia-mig-parted did not apply it")


def _asked(run: Run, command: str, layout: str) -> tuple[int, str, str]:
    return run([PROGRAM, command, "-f", str(ledger_store.place(NOTE)), "-c", layout])


def words() -> list[str]:
    """The division from before gpuhost, a line for each entry."""
    return list(map(_words, layouts().get(BEFORE, ())))


def _words(entry: Mapping[str, Any]) -> str:
    devices = entry["devices"]
    named = "all GPUs" if devices == "all" else f"GPU {', '.join(map(str, devices))}"
    return f"{named}: {' + '.join(_parts(entry)) or 'divided, without MIG devices'}"


def _parts(entry: Mapping[str, Any]) -> Iterator[str]:
    if not entry["mig-enabled"]:
        yield "whole"
        return
    for profile, times in sorted((entry.get("mig-devices") or {}).items()):
        yield f"{times} × {profile}"
