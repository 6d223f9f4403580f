"""Declared types: never laxer than Ansible's own, and the same value where both accept one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
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
from gpuhost.specs import Specs

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


@pytest.mark.parametrize("value", [550, 550.163])
def test_a_number_where_a_text_is_wanted_is_refused_with_the_text_to_write(value: Any) -> None:
    branch = specs.Variable("nvidia_driver_branch", "nvidia_driver", default="580")
    given: dict[str, Any] = {branch.name: value}
    _, (problem,) = Specs({branch.name: branch}, ("nvidia_driver_",)).resolve(given)
    assert problem.what == f'is {value}: it must be a text; put it in quotes: "{value}"'


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


LOGINS = """
argument_specs:
  main:
    options:
      login_registries:
        type: list
        elements: dict
        default: []
        no_log: true
        options:
          registry: {type: str, required: true}
          password: {type: str, default: "", no_log: true}
"""


def logins(*items: Any) -> tuple[Any, list[str]]:
    variables = {v.name: v for v in specs.parse("login", yaml.safe_load(LOGINS))}
    values, problems = Specs(variables, ("login_",)).resolve({"login_registries": list(items)})
    return values["login_registries"], [problem.what for problem in problems]


def test_the_items_of_a_list_have_their_declared_keys_and_defaults() -> None:
    assert logins({"registry": "nvcr.io"}) == ([{"registry": "nvcr.io", "password": ""}], [])


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"registry": "a", "pasword": "hush"}, "has the key pasword in an item"),
        ({"password": "hush"}, "has an item without registry"),
        ({"registry": "a", "password": ["hush"]}, "has an item whose password is this value"),
        ("hush", "has an item in it: each item must be a mapping"),
    ],
)
def test_what_is_wrong_with_an_item_is_said_without_its_secrets(item: Any, words: str) -> None:
    (what,) = logins(item)[1]
    assert words in what
    assert "hush" not in what


def test_a_variable_without_a_value_is_refused_where_a_role_would_get_it() -> None:
    variables = {
        name: specs.Variable(name, role, default="")
        for name, role in (("docker_ce_version", "docker_ce"), ("gpuhost_gpu_model", "gpuhost"))
    }
    values, problems = Specs(variables, ("docker_ce_",)).resolve(dict.fromkeys(variables))
    assert [problem.variable for problem in problems] == ["docker_ce_version"]
    assert "has no value" in problems[0].what
    assert values["gpuhost_gpu_model"] == ""
