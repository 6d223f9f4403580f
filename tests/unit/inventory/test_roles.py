"""The declarations of the roles themselves."""

from __future__ import annotations

import dataclasses

import pytest

from gpuhost import inventory
from gpuhost.inventory import VARIABLE_OF, Host, desired
from gpuhost.model import Desired
from gpuhost.specs import CONVERTERS, Variable


def test_the_roles_declare_all_that_a_desired_state_is_made_of() -> None:
    assert set(VARIABLE_OF) == {field.name for field in dataclasses.fields(Desired)}
    assert set(VARIABLE_OF.values()) <= set(inventory.declared().variables)


@pytest.mark.parametrize("variable", inventory.declared().variables.values(), ids=lambda v: v.name)
def test_a_declared_default_is_a_value_that_its_own_declaration_accepts(
    variable: Variable,
) -> None:
    assert variable.name.startswith(f"{variable.role}_")
    assert variable.type in CONVERTERS
    if variable.default is not None:
        values, problems = inventory.declared().resolve({variable.name: variable.default})
        assert problems == []
        assert values[variable.name] == variable.default


def test_a_host_that_declares_nothing_has_a_desired_state() -> None:
    state = desired(Host("lab-01", "lab-01"))
    assert state.driver_branch
    assert state.cuda_image
    assert state.gpu_count is None
    assert state.gpu_model is None
