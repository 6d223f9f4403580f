"""Declared types: never laxer than Ansible's own, and the same value where both accept one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.common.validation import (
    check_type_bool,
    check_type_dict,
    check_type_float,
    check_type_int,
    check_type_list,
    check_type_path,
    check_type_raw,
    check_type_str,
)
from hypothesis import given
from hypothesis import strategies as st

from gpuhost import specs

ANSIBLES: dict[str, Callable[[Any], Any]] = {
    "str": check_type_str,
    "path": check_type_path,
    "int": check_type_int,
    "float": check_type_float,
    "bool": check_type_bool,
    "list": check_type_list,
    "dict": check_type_dict,
    "raw": check_type_raw,
}
VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet="abc19 .,-+=yesnotru$~", max_size=6)
    | st.sampled_from(["yes", "No", "TRUE", "off", "1", "0", " 7", "7 ", "1_000", "1e3", "٣"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)


def test_every_type_of_ansibles_that_roles_may_use_is_known() -> None:
    assert set(ANSIBLES) == set(specs.CONVERTERS)


@given(st.sampled_from(sorted(specs.CONVERTERS)), VALUES)
def test_what_is_accepted_here_ansible_accepts_as_the_same_value(name: str, value: Any) -> None:
    try:
        converted = specs.CONVERTERS[name](value)
    except ValueError:
        return
    if name != "path":  # Ansible expands ~ and variables on the controller, which is not wanted
        assert ANSIBLES[name](value) == converted


@pytest.mark.parametrize(("value", "number"), [("12", 12), ("-1", -1), (7, 7)])
def test_numbers_that_are_written_as_texts_are_numbers(value: Any, number: int) -> None:
    assert specs.CONVERTERS["int"](value) == number


def test_all_entry_points_of_a_role_declare() -> None:
    document = {
        "argument_specs": {
            "main": {"options": {"x_a": {"type": "int", "default": 1}}},
            "remove": {"options": {"x_b": {"type": "list", "elements": "int"}}},
            "nothing": {},
        }
    }
    first, second = specs.parse("x", document)
    assert (first.name, first.role, first.type, first.default) == ("x_a", "x", "int", 1)
    assert (second.name, second.elements, second.required) == ("x_b", "int", False)
