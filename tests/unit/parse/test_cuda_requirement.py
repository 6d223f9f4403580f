from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.cuda_requirement import Condition, Offer, is_met, parse_requirement
from gpuhost.parse.errors import ParseError

# As the image nvidia/cuda:12.4.1-base-ubuntu22.04 has it, shortened.
REQUIREMENT = (
    "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 "
    "brand=nvidia,driver>=470,driver<471 brand=tesla,driver>=535,driver<536"
)
A100 = Offer(cuda="12.4", driver="550.163.01", arch="8.0", is_consumer=False)


def test_a_requirement_is_taken_apart() -> None:
    first, second, *_ = parse_requirement(REQUIREMENT)
    assert first == (Condition("cuda", ">=", "12.4"),)
    assert second == (
        Condition("brand", "=", "tesla"),
        Condition("driver", ">=", "470"),
        Condition("driver", "<", "471"),
    )


@pytest.mark.parametrize(
    ("cuda", "driver", "met"),
    [
        ("12.4", "550.163.01", True),
        ("13.0", "580.178.04", True),
        ("12.2", "535.309.01", True),
        ("11.4", "470.256.02", True),
        ("12.0", "525.147.05", False),
        ("12.3", "545.23.08", False),
    ],
)
def test_a_driver_meets_it_by_its_cuda_or_by_a_branch_that_is_named(
    cuda: str, driver: str, met: bool
) -> None:
    assert is_met(REQUIREMENT, replace(A100, cuda=cuda, driver=driver)) is met


def test_the_branches_that_are_named_are_not_for_consumer_gpus() -> None:
    old = replace(A100, cuda="12.2", driver="535.309.01")
    assert is_met(REQUIREMENT, old)
    assert not is_met(REQUIREMENT, replace(old, is_consumer=True))
    assert is_met("brand=geforcertx,driver>=535", replace(old, is_consumer=True))


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("", True),
        ("arch>=7.5", True),
        ("arch>=9.0", False),
        ("cuda>12.4", False),
        ("cuda<=12.4", True),
        ("cuda=12", True),
        ("driver!=550", False),
        ("brand!=geforce", True),
    ],
)
def test_every_operator_is_known(text: str, met: bool) -> None:
    assert is_met(text, A100) is met


@pytest.mark.parametrize("text", ["moon>=full", "cuda", "cuda>=x", "cuda>=12.4,", "brand~tesla"])
def test_what_is_no_requirement_is_an_error(text: str) -> None:
    with pytest.raises(ParseError):
        is_met(text, A100)


@given(
    st.tuples(st.integers(11, 15), st.integers(0, 9)),
    st.tuples(st.integers(11, 15), st.integers(0, 9)),
)
def test_newer_offers_meet_older_requirements(a: tuple[int, int], b: tuple[int, int]) -> None:
    text, offered = f"cuda>={a[0]}.{a[1]}", f"{b[0]}.{b[1]}"
    assert is_met(text, replace(A100, cuda=offered)) is (b >= a)
