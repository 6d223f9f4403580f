"""Which workloads are proven at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.workloads.schedule import Need, waves

FREE = tuple(f"GPU-{index}" for index in range(4))
needs = st.lists(
    st.builds(
        Need,
        name=st.uuids().map(str),
        gpus=st.integers(0, len(FREE)),
        ports=st.frozensets(st.integers(8000, 8003), max_size=2),
        alone=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda need: need.name,
)


@given(needs)
def test_each_is_proven_once_with_as_many_gpus_as_it_needs(wanted: list[Need]) -> None:
    placed = {place.name: place.gpus for wave in waves(wanted, FREE) for place in wave}
    assert {name: len(gpus) for name, gpus in placed.items()} == {n.name: n.gpus for n in wanted}


@given(needs)
def test_no_two_at_once_share_a_gpu_or_a_port(wanted: list[Need]) -> None:
    ports = {need.name: need.ports for need in wanted}
    alone = {need.name for need in wanted if need.alone}
    for wave in waves(wanted, FREE):
        gpus = [gpu for place in wave for gpu in place.gpus]
        taken = [port for place in wave for port in ports[place.name]]
        assert len(gpus) == len(set(gpus))
        assert len(taken) == len(set(taken))
        assert len(wave) == 1 or not alone & {place.name for place in wave}


def test_those_that_fit_are_proven_together() -> None:
    wanted = [Need("a", 2), Need("b", 1), Need("c", 2), Need("d", 1), Need("e", 0)]
    names = [[place.name for place in wave] for wave in waves(wanted, FREE)]
    assert names == [["a", "b", "d", "e"], ["c"]]


def test_one_that_never_fits_is_an_error() -> None:
    with pytest.raises(ValueError, match="a needs 5 GPUs of 4"):
        waves([Need("a", 5)], FREE)
