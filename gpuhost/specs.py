"""The variables that gpuhost's roles take: read from each role's ``meta/argument_specs.yml``.

That file is where a variable is declared, once: Ansible checks it again when
the role runs. The rules here are never laxer than Ansible's, and stricter
where Ansible would quietly make something else of a value (``26.10`` as a
version, ``yes`` as a name, ``a,b`` as a list).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gpuhost.suggest import did_you_mean

TRUE_WORDS = ("y", "yes", "on", "1", "true", "t")
FALSE_WORDS = ("n", "no", "off", "0", "false", "f")
# The role whose variables only gpuhost itself reads.
DECLARING = "gpuhost"


@dataclass(frozen=True)
class Variable:
    """One declared variable.

    ``elements`` is the type of a list's items, if declared; ``options`` are
    the keys that each of them has.
    """

    name: str
    role: str
    type: str = "str"
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    elements: str | None = None
    no_log: bool = False
    options: Mapping[str, Variable] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one variable, and what would be right."""

    variable: str
    what: str


@dataclass(frozen=True)
class Specs:
    """All declared variables by name, and the prefixes (``docker_ce_`` …) that are the roles'."""

    variables: Mapping[str, Variable]
    prefixes: tuple[str, ...]

    def resolve(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Every declared variable's value, as given or by default, and what is wrong with them.

        ``None`` counts as not given, as it does in Ansible's own check. But there it takes
        the default's place in what a role does: of roles that change a host it is refused.
        """
        values = {variable.name: variable.default for variable in self.variables.values()}
        problems = [self._unknown(name) for name in given if self._is_stray(name)]
        for variable in self.variables.values():
            value = given.get(variable.name)
            if value is None:
                if variable.required:
                    problems.append(Problem(variable.name, "is required and not set"))
                elif variable.name in given and variable.role != DECLARING:
                    what = 'has no value: write one ("" for an empty text), or take the line away'
                    problems.append(Problem(variable.name, what))
                continue
            try:
                values[variable.name] = _checked(variable, value)
            except ValueError as error:
                problems.append(Problem(variable.name, str(error)))
        return values, problems

    def _is_stray(self, name: str) -> bool:
        return name.startswith(self.prefixes) and name not in self.variables

    def _unknown(self, name: str) -> Problem:
        return Problem(name, f"is no variable of any role.{did_you_mean(name, self.variables)}")


def load(roles: Path) -> Specs:
    """The declarations of every role in the folder ``roles`` that has an argument spec."""
    variables: dict[str, Variable] = {}
    prefixes = []
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        role = path.parent.parent.name
        prefixes.append(f"{role}_")
        variables |= {v.name: v for v in parse(role, yaml.safe_load(path.read_text()))}
    return Specs(variables, tuple(prefixes))


def parse(role: str, document: Mapping[str, Any]) -> Iterable[Variable]:
    """The variables in one role's argument spec, of all its entry points."""
    for entry_point in document["argument_specs"].values():
        yield from _variables(role, entry_point)


def _variables(role: str, declared: Mapping[str, Any]) -> Iterable[Variable]:
    for name, option in (declared.get("options") or {}).items():
        yield Variable(
            name=name,
            role=role,
            type=option.get("type", "str"),
            required=option.get("required", False),
            default=option.get("default"),
            choices=tuple(option.get("choices", ())),
            elements=option.get("elements"),
            no_log=option.get("no_log", False),
            options={one.name: one for one in _variables(role, option)},
        )


def _checked(variable: Variable, value: Any) -> Any:
    shown = "this value" if variable.no_log else repr(value)
    try:
        converted = CONVERTERS[variable.type](value)
    except ValueError as error:
        raise ValueError(f"is {shown}: it must be {_wanted(variable, error)}") from None
    if variable.elements is None:
        _check_choice(variable, converted)
        return converted
    return [_checked_item(variable, item) for item in converted]


def _checked_item(variable: Variable, item: Any) -> Any:
    shown = "an item" if variable.no_log else repr(item)
    try:
        converted = CONVERTERS[variable.elements or "raw"](item)
    except ValueError as error:
        wanted = _wanted(variable, error)
        raise ValueError(f"has {shown} in it: each item must be {wanted}") from None
    _check_choice(variable, converted)
    return _checked_keys(variable, converted) if variable.options else converted


def _checked_keys(variable: Variable, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item with all its declared keys, as given or by default."""
    for name in item:
        if name not in variable.options:
            hint = did_you_mean(name, variable.options)
            raise ValueError(f"has the key {name} in an item, which is none of its keys.{hint}")
    found: dict[str, Any] = {}
    for key in variable.options.values():
        value = item.get(key.name)
        if value is None and key.required:
            raise ValueError(f"has an item without {key.name}, which each item needs")
        try:
            found[key.name] = key.default if value is None else _checked(key, value)
        except ValueError as error:
            raise ValueError(f"has an item whose {key.name} {error}") from None
    return found


def _wanted(variable: Variable, error: ValueError) -> str:
    # After what it must be, a converter shows how to write the value, with the value.
    return re.split("[,;]", str(error))[0] if variable.no_log else str(error)


def _check_choice(variable: Variable, value: Any) -> None:
    if variable.choices and value not in variable.choices:
        names = [str(choice) for choice in variable.choices]
        raise ValueError(
            f"is {value!r}: it must be one of {', '.join(names)}.{did_you_mean(str(value), names)}"
        )


def _text(value: Any) -> str:
    # A number would be taken by Ansible's own check, but get into the roles as a number.
    if isinstance(value, str):
        return value
    raise ValueError(f'a text; put it in quotes: "{value}"')


def _whole_number(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+", value):
        return int(value)
    raise ValueError("a whole number")


def _number(value: Any) -> float:
    try:
        return float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise ValueError("a number") from None


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return word in TRUE_WORDS
    raise ValueError("true or false")


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError(f"a list, as in [{value}]")


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("a mapping (key: value)")


def _anything(value: Any) -> Any:
    return value


CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "str": _text,
    "path": _text,
    "int": _whole_number,
    "float": _number,
    "bool": _truth,
    "list": _list,
    "dict": _mapping,
    "raw": _anything,
}
