"""Boot a lab host, and boot it again whenever it reboots.

Usage: supervisor.py GROUP COMMAND [ARGUMENT…]

GROUP is the host's control group. This program lives in GROUP/supervisor and
each boot in a new GROUP/machine. COMMAND runs the host until it ends: with
status 133 where the host asked to be rebooted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REBOOT = 133


def join(group: Path) -> None:
    """Move the calling process into a control group."""
    (group / "cgroup.procs").write_text("0")


def renew(group: Path) -> None:
    """Make a control group anew; the old one cannot take processes any more."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()
    group.mkdir()


def boot(group: Path, command: list[str]) -> int:
    """Run the host once; its exit status."""
    renew(group)
    return subprocess.run(command, preexec_fn=lambda: join(group), check=False).returncode


def main(group: Path, command: list[str]) -> int:
    """Run the host until it is powered off; its last exit status."""
    (group / "supervisor").mkdir(exist_ok=True)
    join(group / "supervisor")
    while (status := boot(group / "machine", command)) == REBOOT:
        pass
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
