"""``gpuhost nightly install``: a systemd timer and its service, or a line for cron."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import GpuhostError, UsageError

NAME = "gpuhost-nightly"
DEFAULT_TIME = "02:30"
SYSTEM_UNITS = Path("/etc/systemd/system")
SECRETS = "nightly.env"
CRON_REMEDY = "Without systemd, use cron: gpuhost nightly install --cron prints the line."
USERS_REMEDY = (
    "A user's timers need that user's own systemd: log in as this user, not through su or sudo, "
    "and have it stay with: loginctl enable-linger. "
)

SERVICE = """\
# Written by `gpuhost nightly install`; remove it with `gpuhost nightly remove`.
[Unit]
Description=gpuhost: verify the GPU hosts
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
WorkingDirectory={folder}
Environment={path}
# GPUHOST_NOTIFY, vault passwords and the like: what should stand in no unit.
EnvironmentFile=-{secrets}
ExecStart={command}
# A host that fails is what the run is there to find, and no failure of the service; 143 is
# a run that was stopped on request.
SuccessExitStatus=1 3 143
UMask=0077
Nice=10
"""
TIMER = """\
# Written by `gpuhost nightly install`; remove it with `gpuhost nightly remove`.
[Unit]
Description=gpuhost: verify the GPU hosts every night

[Timer]
OnCalendar={calendar}
RandomizedDelaySec=5min
# A controller that was off at that time makes up for it.
Persistent=true

[Install]
WantedBy=timers.target
"""


class TimerError(GpuhostError):
    """systemd did not do what was asked."""


@dataclass(frozen=True)
class Place:
    """Where units go: the system's own with root, else the user's."""

    units: Path
    secrets: Path
    options: tuple[str, ...]

    @classmethod
    def of_this_user(cls) -> Place:
        """The system's units for root, those of the user manager for anybody else."""
        if os.geteuid() == 0:
            return cls(SYSTEM_UNITS, Path("/etc/gpuhost") / SECRETS, ())
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return cls(config / "systemd" / "user", config / "gpuhost" / SECRETS, ("--user",))

    @property
    def paths(self) -> tuple[Path, Path]:
        """The service and the timer."""
        return self.units / f"{NAME}.service", self.units / f"{NAME}.timer"


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of a nightly run, with the Python that this gpuhost runs in."""
    return [sys.executable, "-m", "gpuhost", "nightly", "run", *arguments]


def units(
    place: Place, arguments: Sequence[str], folder: Path, calendar: str
) -> Mapping[Path, str]:
    """The unit files and what is in them."""
    service, timer = place.paths
    return {
        service: SERVICE.format(
            folder=_literal(folder),
            path=_quoted(os.pathsep.join([f"PATH={Path(sys.executable).parent}", os.defpath])),
            secrets=_literal(place.secrets),
            command=" ".join(map(_argument, command(arguments))),
        ),
        timer: TIMER.format(calendar=calendar),
    }


def cron_line(arguments: Sequence[str], folder: Path, at: str) -> str:
    """The line for crontab(5); ``at`` is HH:MM."""
    hour, minute = _clock(at)
    line = f"cd {shlex.quote(str(folder))} && {shlex.join(command(arguments))} --quiet"
    return f"{minute} {hour} * * *  " + line.replace("%", r"\%")


def install(arguments: Sequence[str], folder: Path, at: str) -> Place:
    """Write the units, enable the timer, and return where they are.

    ``at`` is HH:MM, or anything else that systemd's OnCalendar takes.

    Raises:
        UsageError: systemd does not understand ``at``.
        TimerError: systemd is not there or refuses.
    """
    place = Place.of_this_user()
    calendar = _calendar(at)
    for path, text in units(place, arguments, folder, calendar).items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise TimerError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        _systemctl(place, "daemon-reload")
        _systemctl(place, "enable", f"{NAME}.timer")
        # A timer that was there already takes a new time only when it is started anew.
        _systemctl(place, "restart", f"{NAME}.timer")
    except TimerError:
        for path in place.paths:
            path.unlink(missing_ok=True)
        raise
    return place


def remove() -> bool:
    """Disable the timer and remove the units; whether there were any."""
    place = Place.of_this_user()
    present = [path for path in place.paths if path.exists()]
    if not present:
        return False
    _systemctl(place, "disable", "--now", f"{NAME}.timer")
    for path in present:
        path.unlink()
    _systemctl(place, "daemon-reload")
    return True


def status() -> str:
    """What systemd says about the timer and its last run; empty where none is installed."""
    place = Place.of_this_user()
    if not place.paths[1].exists():
        return ""
    listed = _systemctl(place, "list-timers", "--all", "--no-pager", f"{NAME}.timer")
    shown = _systemctl(
        place, "show", f"{NAME}.service", "--property=ActiveState,Result,ExecMainStatus"
    )
    return f"{listed}\n{shown}"


def _calendar(at: str) -> str:
    try:
        hour, minute = _clock(at)
    except UsageError:
        if _run(["systemd-analyze", "calendar", at]).returncode:
            raise
        return at
    return f"*-*-* {hour:02d}:{minute:02d}:00"


def _clock(at: str) -> tuple[int, int]:
    hour, _, minute = at.partition(":")
    if hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60:  # noqa: PLR2004
        return int(hour), int(minute)
    raise UsageError(f"{at!r} is no time of day.", "Write it as HH:MM, e.g. 02:30.")


def _literal(path: Path) -> str:
    """A path that a setting takes as it is, spaces too, but for what stands after a %."""
    return str(path).replace("%", "%%")


def _quoted(word: str) -> str:
    """A word where several stand: systemd would take spaces, quotes and % of its own for its."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = escaped == word and not any(c.isspace() or c == "'" for c in word)
    return word if plain else f'"{escaped}"'


def _argument(word: str) -> str:
    """A word of ExecStart, where systemd replaces variables, too."""
    return _quoted(word).replace("$", "$$")


def _systemctl(place: Place, *arguments: str) -> str:
    done = _run(["systemctl", *place.options, *arguments])
    if done.returncode:
        raise TimerError(
            f"systemctl {' '.join([*place.options, *arguments])}: {done.stderr.strip()}",
            f"{USERS_REMEDY if place.options else ''}{CRON_REMEDY}",
        )
    return done.stdout.rstrip()


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise TimerError(
            f"There is no {argv[0]} on this machine.",
            CRON_REMEDY,
        ) from error
