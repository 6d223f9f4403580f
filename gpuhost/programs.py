"""Running other programs of this machine; a failure becomes a ProgramError."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuhost.errors import ProgramError

TAIL_LINES = 12


def run(
    argv: Sequence[str | Path],
    *,
    purpose: str,
    remedy: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program to its end and return what it wrote to stdout.

    ``purpose`` completes "… failed" in the message of the ProgramError that is
    raised when the program is missing or ends with anything but 0; the tail
    of its stderr (else its stdout) is in that message.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise ProgramError(
            f"{purpose} failed: {words[0]} is not on this machine.",
            remedy or f"Install the Debian package that has {words[0]}.",
        ) from error
    if done.returncode:
        tail = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:])
        raise ProgramError(
            f"{purpose} failed: {words[0]} ended with {done.returncode}: {tail}", remedy
        )
    return done.stdout
