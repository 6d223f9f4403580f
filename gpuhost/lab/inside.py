"""Running commands as root inside a running lab host, without its network or its ssh."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from gpuhost.errors import LabError, UnknownLabHostError
from gpuhost.lab import cgroups, host
from gpuhost.lab.settings import load
from gpuhost.lab.state import HostRecord, Store
from gpuhost.programs import TAIL_LINES

DEFAULT_TIMEOUT_S = 60.0
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# As for all that runs in a host: kernel modules are this machine's.
WITHOUT_MODULES = ("setpriv", "--bounding-set=-sys_module")
# A process 1 of a container in the host has a third process id, in that container.
_LEVELS_OF_HOST = 2


def execute(
    name: str,
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> str:
    """Run a command as root in a running host to its end; what it wrote to stdout.

    Raises LabError where the command ends with anything but 0, does not end
    in time, or the host does not run.
    """
    done = attempt(name, argv, stdin=stdin, timeout_s=timeout_s)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:]
        raise LabError(
            f"{name}: {shlex.join(argv)} ended with {done.returncode}: " + "\n".join(said)
        )
    return done.stdout


def attempt(
    name: str,
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run a command as root in a running host to its end, however it ends.

    Raises LabError where it does not end in time or the host does not run.
    """
    record = recorded(name)
    target = f"--target={leader(record)}"
    with subprocess.Popen(
        [*WITHOUT_MODULES, "nsenter", target, "--all", "--", *argv],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        threading.Thread(target=_keep_going, args=(process.pid,), daemon=True).start()
        try:
            stdout, stderr = process.communicate(stdin or "", timeout=timeout_s)
        except BaseException as error:
            # The command is a child of nsenter's: the group has both.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise LabError(
                f"{name}: {shlex.join(argv)} did not end within {timeout_s:g} s."
            ) from error
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


def _keep_going(pid: int) -> None:
    """Continue nsenter whenever it stops, until it ends.

    It stops itself where its child was stopped, and a host that shuts down stops
    all that runs in it before it ends that. Out here nobody else would continue
    nsenter, its child would stay undead, and the host wait for that forever.
    """
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        while os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT):
            if not os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG):
                return
            os.kill(pid, signal.SIGCONT)


def recorded(name: str) -> HostRecord:
    """The record of a host; UnknownLabHostError where the lab has no such host."""
    store = Store(load().state)
    record = store.host(name)
    if record is None:
        names = ", ".join(known.name for known in store.hosts()) or "none"
        raise UnknownLabHostError(
            f"The lab has no host {name!r}; it has: {names}.", "Run: gpuhost lab list"
        )
    return record


def leader(record: HostRecord) -> int:
    """The id, outside, of the host's process 1; LabError where the host does not run."""
    group = cgroups.mount_point() / record.group / "machine" / "payload"
    if host.is_running(record):
        for pid in cgroups.processes(group):
            if _is_first_of_host(pid):
                return pid
    raise LabError(f"{record.name} does not run.", f"Run: gpuhost lab up {record.name}")


def _is_first_of_host(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            ids = line.split()[1:]
            return len(ids) == _LEVELS_OF_HOST and ids[-1] == "1"
    return False
