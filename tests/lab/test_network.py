"""The lab's network on this machine: one bridge, and holes in a firewall if there is one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from support.ground import own_subnet

from gpuhost import lab as room
from gpuhost.errors import LabError
from gpuhost.lab import holdings, network
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import Store

FOREIGN = "gpuhost-try"


@pytest.fixture
def where(tmp_path: Path) -> Iterator[LabSettings]:
    """Settings of a lab that has a subnet of its own; skipped where no lab can be."""
    try:
        room.check_requirements()
    except LabError as error:
        pytest.skip(f"{error.message} {error.remedy}")
    with own_subnet() as (subnet, _):
        yield LabSettings(tmp_path / "cache", tmp_path / "state", IPv4Network(subnet))


@pytest.fixture
def store(where: LabSettings) -> Iterator[Store]:
    """The lab's records; what they name is given back in the end."""
    store = Store(where.state)
    yield store
    holdings.release(store.lab().holdings)


def rules(where: LabSettings, chain: str) -> list[str]:
    listing = subprocess.run(
        ["iptables", "--wait", "-S", chain], capture_output=True, text=True, check=True
    )
    return [line for line in listing.stdout.splitlines() if where.bridge in line]


def test_the_bridge_has_the_labs_address(where: LabSettings, store: Store) -> None:
    network.ensure(where, store)
    shown = subprocess.run(
        ["ip", "-brief", "address", "show", where.bridge],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{where.address}/24" in shown.stdout.split()


def test_making_the_network_twice_is_harmless(where: LabSettings, store: Store) -> None:
    network.ensure(where, store)
    first = store.lab()
    network.ensure(where, store)
    assert store.lab() == first


def test_a_machine_without_a_firewall_gets_no_rule(where: LabSettings, store: Store) -> None:
    if any(network.is_filtered(chain) for chain in network.FILTERED_CHAINS):
        pytest.skip("this machine has a firewall")
    network.ensure(where, store)
    assert store.lab().holdings.rules == ()


def test_a_firewall_lets_the_labs_traffic_pass_until_the_lab_is_down(
    where: LabSettings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "is_filtered", lambda _chain: True)
    for _ in range(2):
        network.ensure(where, store)
    for chain in network.FILTERED_CHAINS:
        assert rules(where, chain) == [f"-A {chain} -i {where.bridge} -j ACCEPT"]
    holdings.release(store.lab().holdings)
    assert [rules(where, chain) for chain in network.FILTERED_CHAINS] == [[], []]
    assert not (holdings.LINKS / where.bridge).exists()


def test_a_bridge_of_somebody_elses_is_left_alone(where: LabSettings, store: Store) -> None:
    subprocess.run(["ip", "link", "add", where.bridge, "type", "bridge"], check=True)
    try:
        with pytest.raises(LabError, match="that this lab did not make"):
            network.ensure(where, store)
        assert store.lab().holdings.links == ()
    finally:
        subprocess.run(["ip", "link", "delete", where.bridge], check=True)


def test_a_subnet_that_is_in_use_is_refused_with_the_way_to_another(
    where: LabSettings, store: Store
) -> None:
    subprocess.run(["ip", "link", "add", FOREIGN, "type", "bridge"], check=True)
    try:
        subprocess.run(
            ["ip", "address", "add", f"{where.subnet[9]}/24", "dev", FOREIGN], check=True
        )
        subprocess.run(["ip", "link", "set", FOREIGN, "up"], check=True)
        with pytest.raises(LabError) as caught:
            network.ensure(where, store)
    finally:
        subprocess.run(["ip", "link", "delete", FOREIGN], check=True)
    assert FOREIGN in caught.value.message
    assert "GPUHOST_LAB_SUBNET" in caught.value.remedy
