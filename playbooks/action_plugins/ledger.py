"""Adds to the module ``ledger`` what only the controller knows.

That is who runs this, and whether the holder of a lock, if it ran on this
machine, is still alive.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

PROC = Path("/proc")


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action; see the module's documentation."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, a second time where the lock's holder turns out to be dead."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        # Actions run in a worker: what lives as long as the run is its parent.
        holder = describe(os.getppid(), variables.get("gpuhost_command"))
        arguments = {
            "run": variables.get("gpuhost_run_id") or identity(holder),
            "holder": holder,
            "kind": variables.get("gpuhost_kind", "provision"),
            **self._task.args,
        }
        answer = self._ask(arguments, variables)
        lock = answer.get("lock")
        if lock and is_dead(lock["holder"]):
            answer = self._ask({**arguments, "dead": lock["run"]}, variables)
        return result | answer

    def _ask(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="ledger", module_args=arguments, task_vars=variables
        )
        return answer


def describe(pid: int, command: str | None) -> dict[str, Any]:
    """Who and where the process ``pid`` of this machine is."""
    return {
        "user": getpass.getuser(),
        "machine": socket.gethostname(),
        "place": this_place(),
        "pid": pid,
        "started": started(pid),
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def identity(holder: dict[str, Any]) -> str:
    """The identity of a run that gpuhost gave none: one process has one."""
    return f"{holder['machine']}-{holder['pid']}-{holder['started']}"


def this_place() -> str:
    """This machine since it was booted, and where its process numbers count.

    Those of a container do not count outside it.
    """
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {(PROC / 'self/ns/pid').readlink()}"


def started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty if none is alive."""
    try:
        # The name, in parentheses, may itself have spaces and parentheses in it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def is_dead(holder: dict[str, Any]) -> bool:
    """Whether a lock's holder is known to be gone: it was a process of this machine."""
    return holder.get("place") == this_place() and started(holder["pid"]) != holder["started"]
