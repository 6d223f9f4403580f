"""Faults are commands inside the host, and each takes back what it did."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gpuhost.lab.gpu import faults
from gpuhost.lab.gpu.faults import Fault
from gpuhost.lab.gpu.guest.kernel_player.commands import COMMANDS

FAULTS: tuple[Fault, ...] = (
    faults.GpuMissing(2),
    faults.GpuLost(2),
    faults.ErrOutput(2),
    faults.DriverMismatch(),
    faults.LibraryMismatch(),
)


class Recorder:
    """Remembers what was to be run in which host."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, list[str]]] = []

    def __call__(self, host: str, argv: Sequence[str]) -> None:
        self.ran.append((host, list(argv)))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_is_a_command_that_the_kernel_player_has(fault: Fault) -> None:
    run = Recorder()
    with faults.injected(run, "lab-01", fault):
        pass
    assert [host for host, _ in run.ran] == ["lab-01", "lab-01"]
    for _, (program, command, *_rest) in run.ran:
        assert program == faults.KERNEL
        assert command in COMMANDS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_is_cleared_even_if_the_block_fails(fault: Fault) -> None:
    run, alone = Recorder(), Recorder()
    fault.clear(alone, "lab-01")
    with pytest.raises(ZeroDivisionError), faults.injected(run, "lab-01", fault):
        raise ZeroDivisionError
    assert run.ran[-1] == alone.ran[-1]


@pytest.mark.parametrize("fault", [faults.GpuLost(1), faults.ErrOutput(1)])
def test_what_a_gpu_was_made_to_report_is_taken_back_key_by_key(fault: Fault) -> None:
    run = Recorder()
    with faults.injected(run, "lab-01", fault):
        pass
    (_, injected), (_, cleared) = run.ran
    assert [word.partition("=")[0] for word in injected] == [
        word.partition("=")[0] for word in cleared
    ]
    assert all(word.endswith("=") for word in cleared if "=" in word)
