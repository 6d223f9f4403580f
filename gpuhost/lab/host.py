"""One lab host: described, mounted, booted, waited for, stopped and removed."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import cgroups, holdings, keys
from gpuhost.lab.base import OPERATOR
from gpuhost.lab.commands import run
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import Holdings, HostRecord, boot_id

SUPERVISOR = Path(__file__).parent / "servers" / "supervisor.py"
PROPAGATED = Path("/run/systemd/nspawn/propagate")
LOCKS = Path("/run/systemd/nspawn/locks")
READY_WITHIN_S = 60.0
JOINED_WITHIN_S = 5.0
LOG_TAIL_LINES = 12
SSH_PORT = 22
KNOWN_HOSTS = "known_hosts"
_POLL_S = 0.03
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")


def describe(
    settings: LabSettings,
    name: str,
    address: str,
    *,
    release: str,
    gpus: int,
    model: str,
    histories: tuple[str, ...] = (),
    listed: bool = True,
) -> HostRecord:
    """The record of a host that is to be made: everything that it will hold is in it."""
    return HostRecord(
        name=name,
        address=address,
        release=release,
        gpus=gpus,
        model=model,
        machine=settings.machine(address),
        base="",
        folder=str(settings.state / "hosts" / name),
        group=str(Path(settings.bridge) / name),
        histories=histories,
        listed=listed,
    )


def claim(record: HostRecord) -> HostRecord:
    """The same record, holding what a boot of the host takes from the machine."""
    held = Holdings(
        boot_id=boot_id(),
        cgroups=cgroups.everywhere(record.group),
        mounts=(str(record.part("root")),),
        links=(f"vb-{record.machine}",),
        folders=(record.folder, str(PROPAGATED / record.machine)),
    )
    return replace(record, holdings=held)


def mount(record: HostRecord) -> None:
    """Lay the host's own root file system over its base; harmless where it is mounted."""
    root = record.part("root")
    if root.is_mount():
        return
    if not Path(record.base).is_dir():
        raise LabError(
            f"{record.name}: its base system {record.base} is gone from the cache.",
            f"Run: gpuhost lab down {record.name}, then gpuhost lab up {record.name}",
        )
    layers = {
        "lowerdir": record.base,
        "upperdir": record.part("upper"),
        "workdir": record.part("work"),
    }
    options = ",".join(f"{name}={folder}" for name, folder in layers.items())
    run(
        ["mount", "-t", "overlay", f"gpuhost-{record.name}", "-o", options, root],
        purpose=f"Mounting the root file system of {record.name}",
    )


def boot(settings: LabSettings, record: HostRecord) -> None:
    """Start the host under its supervisor; both go on when this program ends."""
    top = cgroups.mount_point()
    group = top / record.group
    cgroups.create(group, below=top)
    argv = [sys.executable, "-I", str(SUPERVISOR), str(group), *nspawn(settings.bridge, record)]
    with record.part("console.log").open("ab") as log:
        supervisor = subprocess.Popen(
            argv,
            # The host gets a version 2 cgroup hierarchy, which containers in it need.
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    await_condition(lambda: is_running(record), lambda: supervisor.poll() is None, JOINED_WITHIN_S)
    # Popen would warn about a child that outlives it; this one is meant to.
    supervisor.returncode = 0


def nspawn(bridge: str, record: HostRecord) -> list[str]:
    """The command that runs a host until it reboots or powers off.

    It is privileged as a machine of its own is, but can't load kernel
    modules: those are the controller's. Docker's folders lie on a plain file
    system, since its storage driver refuses to work on an overlay.
    """
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={record.part('root')}",
        f"--machine={record.machine}",
        f"--hostname={record.name}",
        "--register=no",
        "--keep-unit",
        f"--network-bridge={bridge}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        "--setenv=SYSTEMD_COLORS=0",
        "--capability=all",
        "--drop-capability=CAP_SYS_MODULE",
        "--system-call-filter=add_key keyctl bpf",
        f"--bind={record.part('docker')}:/var/lib/docker",
        f"--bind={record.part('containerd')}:/var/lib/containerd",
        "--boot",
    ]


def is_running(record: HostRecord) -> bool:
    """Whether the host's supervisor runs, and with it the host, or soon after a reboot.

    A host whose supervisor was killed may go on for a while, but would not
    come back from a reboot: it does not count.
    """
    supervisor = cgroups.mount_point() / record.group / "supervisor"
    return record.holdings.boot_id == boot_id() and cgroups.is_populated(supervisor)


def ssh(state: Path, record: HostRecord) -> list[str]:
    """The command that logs in to the host as its operator; a command to run may be appended."""
    options = [*keys.strict_options(state / KNOWN_HOSTS), "-o", "LogLevel=ERROR"]
    return ["ssh", "-i", str(keys.operator_key(state)), *options, f"{OPERATOR}@{record.address}"]


def await_login(state: Path, record: HostRecord) -> None:
    """Wait until the operator can log in.

    Raises LabError with the end of the host's console where that does not come.
    """
    login = [*ssh(state, record), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "true"]

    def answers() -> bool:
        if not _listens(record.address):
            return False
        return subprocess.run(login, capture_output=True, check=False).returncode == 0

    if not await_condition(answers, lambda: is_running(record), READY_WITHIN_S):
        raise LabError(
            f"{record.name} did not come up. Its console ends with:\n{console_tail(record)}",
            f"The whole console is in {record.part('console.log')}.",
        )


def await_condition(met: Callable[[], bool], possible: Callable[[], bool], within_s: float) -> bool:
    """Wait until something holds, for as long as it still can; whether it came to hold."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if met():
            return True
        if not possible():
            return False
        time.sleep(_POLL_S)
    return False


def _listens(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, SSH_PORT), timeout=1):
        return True
    return False


def console_tail(record: HostRecord) -> str:
    """The last lines of the host's console, without control characters."""
    try:
        text = record.part("console.log").read_text(errors="replace")
    except FileNotFoundError:
        return "(no console)"
    lines = [_CONTROL.sub("", line).rstrip() for line in text.splitlines()]
    return "\n".join([line for line in lines if line][-LOG_TAIL_LINES:])


def stop(record: HostRecord) -> None:
    """End the host at once, as pulling the plug does; its files stay."""
    _release(record, replace(record.holdings, folders=()))


def remove(record: HostRecord) -> None:
    """End the host and remove everything that is on its record."""
    _release(record, record.holdings)


def _release(record: HostRecord, held: Holdings) -> None:
    root = record.part("root")
    lock = _nspawn_lock(root) if root.is_mount() else None
    holdings.release(held)
    if lock:
        lock.unlink(missing_ok=True)


def _nspawn_lock(root: Path) -> Path:
    """The file by which nspawn keeps a root to itself; one that is killed leaves it behind.

    Its name follows from the root as it is mounted now.
    """
    found = root.stat()
    return LOCKS / f"inode-{found.st_dev}:{found.st_ino}"
