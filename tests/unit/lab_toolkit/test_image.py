"""What a container's environment asks for, and what it requires of the driver."""

from __future__ import annotations

import pytest

from gpuhost.lab.toolkit.standin import image
from gpuhost.lab.toolkit.standin.requirements import RequirementError, check

SUPPORTED = ["compute", "utility", "video"]
CUDA_13 = (
    "cuda>=13.0 brand=unknown,driver>=535,driver<536 brand=tesla,driver>=535,driver<536 "
    "brand=tesla,driver>=550,driver<551"
)
A100 = {"cuda": "12.4", "driver": "550.163.01", "brand": "tesla", "arch": "8.0"}


def test_of_a_variable_given_twice_the_last_counts() -> None:
    spec = {"process": {"env": ["A=1", "A=2=3", "B"]}}

    assert image.environment(spec) == {"A": "2=3", "B": ""}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ()),
        ({"NVIDIA_VISIBLE_DEVICES": ""}, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, ()),
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, ("none",)),
        ({"NVIDIA_VISIBLE_DEVICES": "0,,2"}, ("0", "2")),
        ({"CUDA_VERSION": "11.0"}, ("all",)),
        ({"CUDA_VERSION": "13.0.3", "NVIDIA_REQUIRE_CUDA": "cuda>=13.0"}, ()),
    ],
)
def test_visible_devices(env: dict[str, str], expected: tuple[str, ...]) -> None:
    assert image.visible_devices(env) == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {"compute", "utility"}),
        ({"NVIDIA_DRIVER_CAPABILITIES": ""}, {"compute", "utility"}),
        ({"NVIDIA_DRIVER_CAPABILITIES": "utility"}, {"utility"}),
        ({"NVIDIA_DRIVER_CAPABILITIES": "all"}, set(SUPPORTED)),
        ({"CUDA_VERSION": "8.0"}, set(SUPPORTED)),
    ],
)
def test_driver_capabilities(env: dict[str, str], expected: set[str]) -> None:
    assert image.capabilities(env, SUPPORTED) == expected


def test_a_capability_that_the_host_does_not_offer_is_refused() -> None:
    with pytest.raises(image.CapabilityError, match=r"'graphics' \(allowed 'compute,utility"):
        image.capabilities({"NVIDIA_DRIVER_CAPABILITIES": "graphics"}, SUPPORTED)


def test_requirements_are_the_images_unless_it_switches_them_off() -> None:
    env = {"NVIDIA_REQUIRE_CUDA": "cuda>=12.0", "NVIDIA_REQUIRE_DRIVER": "driver>=535"}

    assert image.requirements(env) == ["cuda>=12.0", "driver>=535"]
    assert image.requirements({**env, "NVIDIA_DISABLE_REQUIRE": "true"}) == []
    assert image.requirements({"CUDA_VERSION": "11.4.2"}) == ["cuda>=11.4"]


@pytest.mark.parametrize(
    "expression",
    ["", CUDA_13, "cuda>=12", "cuda=12.4.0", "cuda<13", "brand!=geforce", "arch>=7.5,brand=Tesla"],
)
def test_requirements_that_an_a100_with_driver_550_meets(expression: str) -> None:
    check(expression, A100)


def test_an_unmet_cuda_requirement_says_what_to_do() -> None:
    with pytest.raises(
        RequirementError,
        match=r"^unsatisfied condition: cuda>=13.0, please update your driver to a newer version",
    ):
        check(CUDA_13, {**A100, "brand": "geforce"})


@pytest.mark.parametrize("expression", ["driver<550", "cuda>12.4", "arch=9.0", "brand=grid"])
def test_requirements_that_it_does_not_meet(expression: str) -> None:
    with pytest.raises(RequirementError, match="unsatisfied condition"):
        check(expression, A100)


@pytest.mark.parametrize("expression", ["cuda", "memory>=4", "cuda>=x", "cuda>>1"])
def test_an_expression_that_is_none_is_refused(expression: str) -> None:
    with pytest.raises(RequirementError, match="invalid expression"):
        check(expression, A100)


def test_what_is_not_known_of_a_gpu_meets_any_requirement() -> None:
    check("brand=grid,arch=1.0", {**A100, "brand": None, "arch": None})
