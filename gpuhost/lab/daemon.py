"""Background programs of the lab: started detached, recorded, ended by that record alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab.state import boot_id, write_json

READY_WITHIN_S = 15.0
END_WITHIN_S = 5.0
LOG_TAIL_LINES = 8
_POLL_S = 0.02
_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORTS_TO_TRY = 50


@dataclass(frozen=True)
class Daemon:
    """A recorded process.

    ``started`` is its start time in clock ticks since the boot ``boot_id``:
    with the process id they name one process, also after the id has been
    given to another one.
    """

    name: str
    pid: int
    started: int
    boot_id: str
    argv: tuple[str, ...]
    version: str
    log: str


def start_time(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def is_running(daemon: Daemon) -> bool:
    """Whether the very process that was recorded still runs."""
    return daemon.boot_id == boot_id() and start_time(daemon.pid) == daemon.started


def recorded(state: Path, name: str) -> Daemon | None:
    """The daemon that the state folder has on record under this name."""
    try:
        fields = json.loads(_record(state, name).read_text())
    except FileNotFoundError:
        return None
    return Daemon(**{**fields, "argv": tuple(fields["argv"])})


def ensure(
    name: str,
    argv: Sequence[str | Path],
    *,
    state: Path,
    address: str,
    port: int,
    version: str = "",
) -> Daemon:
    """A daemon that runs exactly ``argv`` and accepts connections on the address.

    One that runs already is kept; one with other arguments or of another
    ``version`` (of its program and configuration) is replaced. Its output
    goes to ``state/log/NAME.log``, its record to ``state/daemons/NAME.json``.
    Raises LabError with the log's tail where it does not come up.
    """
    words = tuple(str(word) for word in argv)
    known = recorded(state, name)
    if known and (known.argv, known.version) == (words, version) and is_running(known):
        return known
    stop(state, name)
    _check_free(name, address, port)
    daemon = _start(name, words, version, state)
    _await_port(daemon, address, port)
    return daemon


def stop(state: Path, name: str) -> bool:
    """End the recorded daemon and forget it; whether there was one to end."""
    known = recorded(state, name)
    was_running = known is not None and is_running(known)
    if known is not None and was_running:
        _end(known)
    _record(state, name).unlink(missing_ok=True)
    return was_running


def _record(state: Path, name: str) -> Path:
    return state / "daemons" / f"{name}.json"


def _start(name: str, argv: tuple[str, ...], version: str, state: Path) -> Daemon:
    log = state / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise LabError(
                f"The lab's {name} could not be started: {argv[0]} is not on this machine.",
                f"Install the Debian package that has {argv[0]}.",
            ) from error
    started = start_time(process.pid) or 0
    daemon = Daemon(name, process.pid, started, boot_id(), argv, version, str(log))
    write_json(_record(state, name), asdict(daemon))
    # Popen would warn about a child that outlives it; this one is meant to.
    process.returncode = 0
    return daemon


def free_port(address: str) -> int:
    """A port that nobody uses and that no outgoing connection will be given meanwhile."""
    lowest_outgoing = int(_OUTGOING_PORTS.read_text().split()[0])
    for port in random.sample(range(lowest_outgoing // 2, lowest_outgoing), _PORTS_TO_TRY):
        with contextlib.suppress(OSError):
            socket.create_server((address, port)).close()
            return port
    raise LabError(f"{address} has no free port below {lowest_outgoing}.", "See: ss -ltn")


def _check_free(name: str, address: str, port: int) -> None:
    # Asked before: afterwards, whoever has the port would be taken for our daemon.
    try:
        socket.create_server((address, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise LabError(
            f"The lab's {name} cannot listen on {address}:{port}: {reason}.",
            f"See who has the port: ss -ltnp 'sport = :{port}'",
        ) from error


def _await_port(daemon: Daemon, address: str, port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and is_running(daemon):
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(_POLL_S)
    lines = Path(daemon.log).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    if is_running(daemon):
        _end(daemon)
    raise LabError(
        f"The lab's {daemon.name} does not answer on {address}:{port}. Its log ends with:\n"
        + "\n".join(lines),
        f"See {daemon.log}, and who has the port: ss -ltnp 'sport = :{port}'",
    )


def _end(daemon: Daemon) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, sign)
        deadline = time.monotonic() + END_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(daemon.pid, os.WNOHANG)
            if not is_running(daemon):
                return
            time.sleep(_POLL_S)
    raise LabError(f"The lab's {daemon.name} (process {daemon.pid}) could not be ended.")
