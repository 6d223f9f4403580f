"""NVIDIA's numbered errors in the kernel's log: Xid of a GPU, SXid of an NVSwitch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from gpuhost.parse.errors import ParseError
from gpuhost.parse.pci import bus_id

_XID = re.compile(r"NVRM: Xid \((?P<device>(?:PCI:)?[0-9a-fA-F:.]+)\).*?: (?P<number>\d+)\b")
_SXID = re.compile(r"SXid \((?P<device>(?:PCI:)?[0-9a-fA-F:.]+)\): (?P<number>\d+), (?P<rest>.*)")


class Action(StrEnum):
    """What NVIDIA's catalogue has done about an Xid."""

    RESET = "reset the GPU"
    REBOOT = "reboot"
    SUPPORT = "call support"
    LINK = "look at the NVLinks"
    RESTART_APPLICATION = "restart the application"
    READ = "read what it says"
    APPLICATION = "look at the application"
    NONE = "nothing"


@dataclass(frozen=True)
class Known:
    """What an Xid means, and what to do."""

    meaning: str
    action: Action


_RESET = Action.RESET
KNOWN: dict[int, Known] = {
    13: Known("a program's kernel raised an exception", Action.APPLICATION),
    31: Known("a program used memory that is not its own", Action.APPLICATION),
    43: Known("a program stopped computing", Action.APPLICATION),
    45: Known("a program was ended, or ended its work early", Action.APPLICATION),
    48: Known("double-bit ECC error", _RESET),
    62: Known("the GPU's microcontroller halted", _RESET),
    63: Known("a memory row was remapped, or a page retired", Action.NONE),
    64: Known("a memory row could not be remapped", Action.SUPPORT),
    74: Known("NVLink error", Action.LINK),
    79: Known("the GPU has fallen off the bus", Action.REBOOT),
    92: Known("many single-bit ECC errors", Action.NONE),
    94: Known(
        "contained ECC error: only the program that used the memory is hit",
        Action.RESTART_APPLICATION,
    ),
    95: Known("uncontained ECC error", _RESET),
    109: Known("a context switch timed out", _RESET),
    119: Known("the GPU's system processor (GSP) does not answer", _RESET),
    120: Known("the GPU's system processor (GSP) failed", _RESET),
    136: Known("the GPU's link training failed", _RESET),
    140: Known("unrecovered ECC error", _RESET),
    143: Known("the GPU could not be started", _RESET),
    154: Known("the GPU asks for another recovery action", Action.READ),
    **{number: Known("NVLink error", Action.LINK) for number in range(144, 151)},
}


@dataclass(frozen=True)
class Xid:
    """One line of the log that names an error; ``is_switch`` for an SXid."""

    number: int
    device: str
    text: str
    is_switch: bool = False
    is_fatal: bool = False

    @property
    def known(self) -> Known | None:
        """What NVIDIA's catalogue says of it, if it has it."""
        return None if self.is_switch else KNOWN.get(self.number)


def parse_xid(line: str) -> Xid | None:
    """The Xid or SXid of a line, if it names one."""
    if match := _XID.search(line):
        return Xid(int(match["number"]), _address(match["device"]), line)
    if match := _SXID.search(line):
        is_fatal = match["rest"].lower().startswith("fatal")
        return Xid(int(match["number"]), _address(match["device"]), line, True, is_fatal)
    return None


def _address(device: str) -> str:
    """As PCI addresses are written elsewhere; the kernel leaves the function out."""
    text = device.removeprefix("PCI:")
    try:
        return bus_id(text if "." in text else f"{text}.0")
    except ParseError:
        return text
