"""The GPUs that a lab host is given."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.errors import UsageError
from gpuhost.lab.gpu import inventory
from gpuhost.lab.gpu.guest.kernel_player.hardware import Gpu

HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
COUNTS = st.integers(0, inventory.MOST_GPUS)


def everything_about(host: str, gpus: int = 4, model: str = "A100") -> inventory.HostGpus:
    return inventory.plan(host=host, gpus=gpus, model=model)


@given(HOSTS, COUNTS)
def test_a_host_always_has_the_same_gpus(host: str, gpus: int) -> None:
    assert everything_about(host, gpus) == everything_about(host, gpus)


@given(HOSTS, COUNTS)
def test_no_two_gpus_share_an_identity(host: str, gpus: int) -> None:
    planned = everything_about(host, gpus).gpus
    for identities in (
        {gpu.uuid for gpu in planned},
        {gpu.pci for gpu in planned},
        {gpu.nvml["serial"] for gpu in planned},
    ):
        assert len(identities) == gpus


@given(HOSTS, HOSTS)
def test_hosts_of_different_names_have_different_gpus(one: str, other: str) -> None:
    shared = set(everything_about(one).uuids) & set(everything_about(other).uuids)
    assert bool(shared) == (one == other)


def test_the_gpus_of_a_host_do_not_change_when_it_gets_more() -> None:
    assert everything_about("lab-01", 8).uuids[:4] == everything_about("lab-01", 4).uuids


def test_uuids_are_well_formed() -> None:
    for text in everything_about("lab-01").uuids:
        assert str(uuid.UUID(text.removeprefix("GPU-"))) == text.removeprefix("GPU-")


def test_gpus_are_numbered_in_the_order_of_their_addresses() -> None:
    addresses = [gpu.pci for gpu in everything_about("lab-01", inventory.MOST_GPUS).gpus]
    assert addresses == sorted(addresses)
    assert all(re.fullmatch(r"0000:[0-9a-f]{2}:00\.0", address) for address in addresses)


def test_nobody_can_take_the_hardware_for_real() -> None:
    for gpu in everything_about("lab-01").gpus:
        assert str(gpu.nvml["serial"]).startswith("LAB")
        assert str(gpu.nvml["vbios"]).startswith("LAB")


@pytest.mark.parametrize("gpus", [-1, inventory.MOST_GPUS + 1])
def test_a_number_of_gpus_that_no_host_has_is_refused(gpus: int) -> None:
    with pytest.raises(UsageError, match="0 to 16 GPUs"):
        everything_about("lab-01", gpus)


def test_what_is_written_is_what_the_kernel_player_reads(tmp_path: Path) -> None:
    planned = everything_about("lab-01")
    inventory.write(tmp_path, planned)
    document = json.loads((tmp_path / "etc/gpuhost-lab/gpus.json").read_text())
    assert tuple(Gpu(**entry).uuid for entry in document["gpus"]) == planned.uuids
