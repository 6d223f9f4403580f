"""The partition proof on hosts with 1 to 16 GPUs, and that it finds a toolkit that swaps them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ground import silent
from support.lab import Lab

from gpuhost import lab as room
from gpuhost.lab.faults import find, injected

PARTITION = ("gpus", "runtime", "cdi", "pairs", "refusal", "user")
ALONE = 1


@pytest.fixture(params=[1, 2, 4, 8, 16])
def counted(lab: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A provisioned host, and how many GPUs it has."""
    name = lab.up("counted", "--gpus", str(request.param))
    try:
        lab.ok("provision", name, "--yes")
        yield name, request.param
    finally:
        room.down([name], silent)


@pytest.mark.slow
def test_every_set_is_exact_and_a_swapped_gpu_is_found(lab: Lab, counted: tuple[str, int]) -> None:
    prove(lab, *counted)


def prove(lab: Lab, host: str, gpus: int) -> None:
    checks = [f"partition.{name}" for name in PARTITION]
    asked = [word for check in checks for word in ("--check", check)]
    well = lab.verify(host, *asked)
    expected = dict.fromkeys(checks, "PASS")
    if gpus == ALONE:
        expected["partition.pairs"] = "SKIP"
    assert {check: well.verdict(check) for check in checks} == expected
    if gpus > ALONE:
        with injected(lab.exec, host, find("toolkit-swap")):
            ill = lab.verify(host, *asked)
        assert ill.verdict("partition.runtime") == "FAIL"
        assert "swapped" in ill.results["partition.runtime"]["summary"]
