"""Who is at work on a host: the lock of a run, and what becomes of it when its holder dies.

The lock is a file on the host, so that neither a lost connection nor a reboot
releases it. It ends with its run. A run that died is found out in one of two
ways: by a controller on the same machine, which sees that the holder's process
is gone, or because nothing was heard of it for :data:`LEASE_S` and none of its
processes is left on the host. A run that was given up although it lives finds
out at the next of our modules, and stops.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils import ledger_store

Record = Mapping[str, Any]

LEASE_S = 900
# Set for every task of a play that holds the lock.
RUN_VARIABLE = "GPUHOST_RUN"
ROLE_VARIABLE = "GPUHOST_ROLE"


def describe(record: Record) -> str:
    """Whose run ``record`` is, in words."""
    holder = record["holder"]
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record["since"]))
    who = f"{holder['user']}@{holder['machine']}, pid {holder['pid']}"
    return f"`{holder['command']}` ({who}, since {since})"


def free_at(record: Record, last_heard: float) -> float:
    """When the run counts as dead if nothing more is heard of it."""
    return max(last_heard + LEASE_S, record.get("quiet_until", 0))


def is_held(record: Record, last_heard: float, now: float, working: Sequence[str]) -> bool:
    """Whether a run that is not known to be dead may still be at work.

    ``working`` are processes of it on the host.
    """
    return bool(working) or now < free_at(record, last_heard)


def last_heard() -> float:
    """When the run last gave a sign of life."""
    times = [
        path.stat().st_mtime
        for path in map(ledger_store.place, (ledger_store.RUN, ledger_store.AT))
        if path.exists()
    ]
    return max(times, default=0.0)


def processes_of(run: str, proc: Path = Path("/proc")) -> list[str]:
    """Processes on this host that a run started, as ``"pid name"``, without this one and its own.

    They are those that have the run in their environment.
    """
    mark = f"{RUN_VARIABLE}={run}".encode()
    found = []
    for process in proc.glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(f"{process.name} {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    return found


def at() -> str:
    """The role that was last at work; empty if none was yet."""
    path = ledger_store.place(ledger_store.AT)
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def require(module: Any) -> None:
    """Give a sign of life; fails the module if the lock is not this run's any more.

    Outside a run that took the lock, nothing is asked for.
    """
    run = os.environ.get(RUN_VARIABLE)
    if not run or module.check_mode:
        return
    record = ledger_store.read(ledger_store.RUN)
    if record is None or record["run"] != run:
        by = f" by {describe(record)}" if record else ""
        module.fail_json(
            msg=f"This run was given up for dead, and the host taken over{by}. It stopped before "
            "changing anything more."
        )
    role = os.environ.get(ROLE_VARIABLE, "")
    if role and role != at():
        ledger_store.place(ledger_store.AT).write_text(role, encoding="utf-8")
    os.utime(ledger_store.place(ledger_store.RUN))
