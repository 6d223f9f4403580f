"""The kernel's log and clock as a host's own tools show them: journalctl, dmesg, timedatectl.

The log of the machine's kernel is not this host's, and the clock is the
machine's to keep; so both are played. Every other question goes to the real tool.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from .hardware import RUN

LOG = RUN / "kernel.log"
CLOCK_IS_LOOSE = RUN / "clock-is-loose"
REAL = ".gpuhost-lab"
KERNEL_ONLY = re.compile(r"--dmesg|-[a-z]*k[a-z]*")


def say(text: str) -> None:
    """Let the kernel log a line."""
    RUN.mkdir(parents=True, exist_ok=True)
    with LOG.open("a") as stream:
        stream.write(f"{time.time():.6f} {text}\n")


def lines() -> Iterator[tuple[float, str]]:
    """What the kernel logged since boot: seconds since 1970, and the text."""
    if LOG.exists():
        for line in LOG.read_text().splitlines():
            when, _, text = line.partition(" ")
            yield float(when), text


def become_real(tool: str, arguments: Sequence[str]) -> NoReturn:
    """Leave a question to the tool that was moved aside."""
    os.execv(f"/usr/bin/{tool}{REAL}", [tool, *arguments])  # noqa: S606 - nothing is left to do


def journalctl(arguments: Sequence[str]) -> None:
    """The kernel's messages of this boot, where only those are asked for."""
    if not any(map(KERNEL_ONLY.fullmatch, arguments)):
        become_real("journalctl", arguments)
    pattern = re.compile(option(arguments, "-g", "--grep") or "")
    found = [(when, text) for when, text in lines() if pattern.search(text)]
    number = option(arguments, "-n", "--lines")
    if number:
        found = found[-int(number) :]
    host = os.uname().nodename
    for when, text in found:
        shown = f"{when:.6f}" if option(arguments, "-o", "--output") == "short-unix" else iso(when)
        sys.stdout.write(f"{shown} {host} kernel: {text}\n")


def dmesg(arguments: Sequence[str]) -> None:
    """The kernel's messages, each with its time."""
    is_iso = option(arguments, "", "--time-format") == "iso"
    began = next(lines(), (0.0, ""))[0]
    for when, text in lines():
        sys.stdout.write(f"{iso(when)} {text}\n" if is_iso else f"[{when - began:12.6f}] {text}\n")


def timedatectl(arguments: Sequence[str]) -> None:
    """Whether the clock is kept right."""
    if "show" not in arguments:
        become_real("timedatectl", arguments)
    answer = "no" if CLOCK_IS_LOOSE.exists() else "yes"
    sys.stdout.write(f"Timezone=Etc/UTC\nLocalRTC=no\nCanNTP=yes\nNTP={answer}\n")
    sys.stdout.write(f"NTPSynchronized={answer}\n")


def option(arguments: Sequence[str], short: str, long: str) -> str:
    """An option's value, in any of the ways to write it; "" where it is not given."""
    for position, word in enumerate(arguments):
        if word in (short, long) and word:
            return arguments[position + 1] if position + 1 < len(arguments) else ""
        for prefix in (f"{long}=", short):
            if prefix and word.startswith(prefix) and not (prefix == short and word[1] == "-"):
                return word[len(prefix) :]
    return ""


def iso(when: float) -> str:
    """A time as dmesg writes it."""
    fraction = f"{when % 1:.6f}".removeprefix("0.")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when)) + f",{fraction}+00:00"


def forget() -> None:
    """Begin a log and a clock anew, as a boot does."""
    for path in (LOG, CLOCK_IS_LOOSE):
        Path(path).unlink(missing_ok=True)
