"""A place for a lab of the tests' own: subnet and folder that no other test run has."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from gpuhost import lab as room
from gpuhost.errors import LabError

# Third octets of 198.18.0.0/16; the first of them is an operator's own lab.
OCTETS = range(77, 127)
FOLDER = Path("/var/tmp")


def silent(_line: str) -> None:
    """Progress that nobody watches."""


@contextmanager
def own_lab() -> Iterator[Path]:
    """An empty lab's state folder, with the environment set for it; removed in the end.

    Skips the test, with the reason, where this machine cannot run a lab.
    """
    try:
        room.check_requirements()
    except LabError as error:
        pytest.skip(f"{error.message} {error.remedy}")
    with pytest.MonkeyPatch.context() as patch, own_subnet() as (subnet, state):
        patch.setenv("GPUHOST_LAB_SUBNET", subnet)
        patch.setenv("GPUHOST_LAB_STATE", str(state))
        remove(state)  # what a killed run may have left
        try:
            yield state
        finally:
            remove(state)


@contextmanager
def own_subnet() -> Iterator[tuple[str, Path]]:
    """A subnet and a folder, nobody else's for as long as the block runs."""
    octet, lock = claim()
    try:
        yield f"198.18.{octet}.0/24", FOLDER / f"gpuhost-test-{octet}"
    finally:
        lock.close()


def claim() -> tuple[int, TextIO]:
    """The first octet that is free, and the open file that keeps it."""
    for octet in OCTETS:
        lock = (FOLDER / f"gpuhost-test-{octet}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        os.set_inheritable(lock.fileno(), False)
        return octet, lock
    pytest.skip("Fifty test runs have a lab on this machine already.")


def remove(state: Path) -> None:
    """Take the lab down, whatever state it is in, and remove its folder."""
    room.down_all(silent)
    shutil.rmtree(state, ignore_errors=True)
