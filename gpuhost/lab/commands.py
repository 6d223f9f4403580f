"""Running the programs that the lab is made with; a failure becomes a LabError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuhost import programs
from gpuhost.errors import LabError, ProgramError


def run(
    argv: Sequence[str | Path],
    *,
    purpose: str,
    remedy: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """As :func:`gpuhost.programs.run`, with a LabError where that has a ProgramError."""
    try:
        return programs.run(argv, purpose=purpose, remedy=remedy, cwd=cwd, env=env, stdin=stdin)
    except ProgramError as error:
        raise LabError(error.message, error.remedy) from error
