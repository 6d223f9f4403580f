"""Rebooting a lab host and powering it off, as its operator would."""

from __future__ import annotations

from gpuhost.errors import LabError
from gpuhost.lab import host, inside, settings
from gpuhost.lab.state import HostRecord

OFF_WITHIN_S = 30.0
REBOOT_WITHIN_S = 60.0
_BOOT_ID = ("cat", "/proc/sys/kernel/random/boot_id")


def reboot(name: str) -> None:
    """Reboot a running host and wait until its operator can log in again.

    Raises LabError where the host does not run or does not come back.
    """
    record = inside.recorded(name)
    before = inside.execute(name, _BOOT_ID)
    _ask_systemd(name, "reboot")
    came = host.await_condition(
        lambda: _boot_id(name) not in ("", before), lambda: host.is_running(record), REBOOT_WITHIN_S
    )
    if not came:
        raise _did_not(record, "reboot")
    host.await_login(settings.load().state, record)


def power_off(name: str) -> None:
    """Shut a running host down in order; ``up`` boots it again.

    Raises LabError where the host does not run or does not end.
    """
    record = inside.recorded(name)
    _ask_systemd(name, "poweroff")
    ended = host.await_condition(lambda: not host.is_running(record), lambda: True, OFF_WITHIN_S)
    if not ended:
        raise _did_not(record, "power off")


def _ask_systemd(name: str, verb: str) -> None:
    asked = inside.attempt(name, ["systemctl", verb])
    # Below zero is a signal: the host was quicker to end systemctl than systemctl to end.
    if asked.returncode > 0:
        raise LabError(
            f"{name} refused to {verb}: {asked.stderr.strip()}", f"Run: gpuhost lab ssh {name}"
        )


def _boot_id(name: str) -> str:
    try:
        return inside.attempt(name, _BOOT_ID).stdout
    except LabError:
        return ""


def _did_not(record: HostRecord, what: str) -> LabError:
    return LabError(
        f"{record.name} did not {what}. Its console ends with:\n{host.console_tail(record)}",
        f"End it at once: gpuhost lab down {record.name}",
    )
