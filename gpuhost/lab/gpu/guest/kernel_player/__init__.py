"""Plays the kernel of a lab host, as far as its NVIDIA GPUs are concerned.

Installed in lab hosts as /usr/lib/gpuhost-lab/kernel, and as modprobe, rmmod
and lsmod, which it leaves to the real ones unless an NVIDIA or nouveau module
is meant; and as journalctl, dmesg and timedatectl, for the kernel's log and clock.
It shows the host its GPUs in sysfs, and when a module is "loaded"
everything that a loaded module brings: /sys/module, /proc/driver/nvidia, the
device nodes, and what the management library says.

As on metal, installing a driver changes files only. What is loaded follows at
the next boot or modprobe, and is forgotten at shutdown.

    kernel boot                   what the kernel and udev do at boot
    kernel refresh                show again what is loaded, after a package was installed
    kernel status                 what is there and loaded, as JSON
    kernel pull|plug INDEX        take a GPU off the PCI bus for good, or put it back
    kernel report INDEX KEY=[TEXT] …   what a GPU reports until the next boot; empty: as it was
    kernel log TEXT…              let the kernel log a line; without TEXT, forget what it logged
    kernel clock loose|kept       have nobody keep the clock right, or somebody again
    kernel loaded [VERSION]       pretend that another version of the module is loaded
    kernel library [VERSION]      pretend that another version of libnvidia-ml was installed
    kernel mig REQUEST UUID …     divide a GPU, as libnvidia-ml asks (see mig.py)
    kernel fabric up|down         what the fabric manager has the NVSwitches do
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .commands import COMMANDS
from .hardware import KernelError
from .tools import TOOLS


def main(argv: Sequence[str]) -> int:
    """Run the tool that this program was called as, or the command that was given."""
    tool = TOOLS.get(Path(argv[0]).name)
    command = COMMANDS.get(argv[1]) if len(argv) > 1 else None
    try:
        if tool:
            tool(argv[1:])
        elif command:
            command(*argv[2:])
        else:
            sys.stderr.write(__doc__ or "")
            return 2
    except KernelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
