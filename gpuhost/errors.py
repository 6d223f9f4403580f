"""What can go wrong, each kind with its exit code and what to do next.

Only :mod:`gpuhost.cli` turns these into an exit; everything else raises them.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every gpuhost command (documented in the README)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    SETUP = 4
    BUG = 5
    INTERRUPTED = 130
    TERMINATED = 143


_WORST_FIRST = (
    ExitCode.BUG,
    ExitCode.SETUP,
    ExitCode.UNREACHABLE,
    ExitCode.FAILED,
    ExitCode.USAGE,
)


def worst(codes: list[ExitCode]) -> ExitCode:
    """The one exit code that stands for several: 5, 4, 3, 1, then 0."""
    for code in _WORST_FIRST:
        if code in codes:
            return code
    return ExitCode.OK


class GpuhostError(Exception):
    """Base of every error that gpuhost explains to its user.

    ``message`` says what happened and where; ``remedy`` says what to do next.
    """

    exit_code = ExitCode.SETUP

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(GpuhostError):
    """A command line, configuration or inventory that cannot be acted on."""

    exit_code = ExitCode.USAGE


class InventoryError(UsageError):
    """An inventory that is missing, unreadable or lacks what was asked for."""


class DesiredStateError(UsageError):
    """Variables of a host that are missing, misspelt or of the wrong type."""


class UnreachableError(GpuhostError):
    """A host that could not be asked."""

    exit_code = ExitCode.UNREACHABLE


class PlaybookError(GpuhostError):
    """Ansible could not run the playbook at all."""

    exit_code = ExitCode.SETUP


class ProbeError(GpuhostError):
    """The probe did not answer with an Evidence document."""

    exit_code = ExitCode.UNREACHABLE


class ProgramError(GpuhostError):
    """A program of this machine that gpuhost needs is missing or failed."""

    exit_code = ExitCode.SETUP


class MirrorError(GpuhostError):
    """A package mirror that cannot be made as it was asked for."""

    exit_code = ExitCode.SETUP


class StateError(GpuhostError):
    """The folder in which gpuhost keeps what it did cannot be used."""

    exit_code = ExitCode.SETUP


class LabError(GpuhostError):
    """The rehearsal lab cannot do what was asked on this machine."""

    exit_code = ExitCode.SETUP


class UnknownLabHostError(LabError):
    """A rehearsal host that the lab does not have."""

    exit_code = ExitCode.USAGE


class Interrupted(GpuhostError):  # noqa: N818  (no error: what the user asked for)
    """Ctrl-C came while a playbook ran; Ansible was stopped."""

    exit_code = ExitCode.INTERRUPTED
