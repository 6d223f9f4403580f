"""Section ``kernel_log``: what the kernel said of NVIDIA's devices since it was booted."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import List, Optional, Sequence

from gpuhost.probe.context import Context
from gpuhost.probe.run import OUTPUT_LIMIT_BYTES
from gpuhost.probe.schema import Command, KernelLog, LogLine

# "NVRM: Xid (PCI:0000:17:00): 79, …" of a GPU, "nvidia-nvswitch0: SXid (…): …" of a switch.
RELEVANT = "NVRM|SXid|nvidia-nvswitch"
NEWEST = 500
JOURNAL = ("journalctl", "-k", "-b", "-q", "--no-pager", "-o", "short-unix")
RING_BUFFER = ("dmesg", "--time-format=iso")
_JOURNAL_LINE = re.compile(r"(?P<time>\d+\.\d+) \S+ kernel: (?P<text>.*)")
_ISO_LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT[\d:]+,\d+[+-]\d\d:\d\d) (?P<text>.*)")


class KernelLogError(Exception):
    """Neither the journal nor the kernel's own buffer could be read."""


def collect(context: Context) -> KernelLog:
    """Read the section; raises KernelLogError.

    The journal reaches back to the boot, the kernel's buffer as far as it is
    large. An empty log proves nothing: a kernel always has something to say.
    """
    # Reading one line shows whether there is a journal, which a search that finds nothing cannot.
    if context.run([*JOURNAL, "-n", "1"])["stdout"].strip():
        return _log("journalctl", journal_lines(_search(context)))
    answer = context.run(RING_BUFFER)
    if len(answer["stdout"]) >= OUTPUT_LIMIT_BYTES:
        raise KernelLogError("the kernel's buffer is longer than can be read, and would be cut off")
    if answer["rc"] == 0 and answer["stdout"].strip():
        return _log("dmesg", ring_buffer_lines(answer["stdout"]))
    raise KernelLogError(f"the kernel's log cannot be read: {_words(answer)}")


def _search(context: Context) -> str:
    found = context.run([*JOURNAL, "-n", str(NEWEST), "-g", RELEVANT])
    if found["stderr"].strip() and not found["stdout"]:
        # Some builds of systemd cannot search.
        found = context.run([*JOURNAL, "-n", "20000", "-r"])
    if found["rc"] is None:
        raise KernelLogError(f"the kernel's log was not read: {_words(found)}")
    return found["stdout"]


def _words(answer: Command) -> str:
    if answer["timed_out"]:
        return f"{answer['argv'][0]} gave no answer within {answer['duration_s']:.0f} s"
    return answer["error"] or answer["stderr"].strip() or "the journal and dmesg are empty"


def _log(source: str, lines: Sequence[LogLine]) -> KernelLog:
    # journalctl prints the newest first when it searches.
    ordered = sorted(lines, key=lambda line: line["time"] or 0.0)
    return {"source": source, "lines": ordered[-NEWEST:], "now": time.time()}


def journal_lines(text: str) -> List[LogLine]:
    """The relevant lines of ``journalctl -o short-unix``."""
    found = (_JOURNAL_LINE.fullmatch(line) for line in text.splitlines())
    return [
        {"time": float(match["time"]), "text": match["text"]}
        for match in found
        if match and re.search(RELEVANT, match["text"])
    ]


def ring_buffer_lines(text: str) -> List[LogLine]:
    """The relevant lines of ``dmesg --time-format=iso``."""
    lines: List[LogLine] = []
    for line in text.splitlines():
        match = _ISO_LINE.fullmatch(line)
        words = match["text"] if match else line
        if re.search(RELEVANT, words):
            lines.append({"time": _seconds(match["time"]) if match else None, "text": words})
    return lines


def _seconds(iso: str) -> Optional[float]:
    try:
        return datetime.fromisoformat(iso.replace(",", ".")).timestamp()
    except ValueError:
        return None
