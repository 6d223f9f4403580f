"""The NVIDIA_REQUIRE_* expressions: alternatives by blanks, each of conditions by commas."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

CONDITION = re.compile(r"([a-z]+)(=|!=|<|<=|>|>=)([^<>=!]+)")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class RequirementError(Exception):
    """An expression that the host does not satisfy, or that is none."""


def check(expression: str, facts: Mapping[str, str | None]) -> None:
    """Check one expression against what is known of driver and GPU.

    ``facts``: cuda, driver, arch, brand; None where unknown, which satisfies any condition.

    Raises:
        RequirementError: with upstream's words.
    """
    alternatives = expression.split()
    if not alternatives:
        return
    for alternative in alternatives:
        conditions = [condition for condition in alternative.split(",") if condition]
        if all(_holds(condition, facts) for condition in conditions):
            return
    advice = ""
    if expression.startswith("cuda>="):
        advice = ", please update your driver to a newer version, or use an earlier cuda container"
    raise RequirementError(f"unsatisfied condition: {alternatives[0]}{advice}")


def _holds(condition: str, facts: Mapping[str, str | None]) -> bool:
    match = CONDITION.fullmatch(condition)
    if match is None or match.group(1) not in facts:
        raise RequirementError("invalid expression")
    name, sign, wanted = match.groups()
    present = facts[name]
    if present is None:
        return True
    if name == "brand":
        return OPERATORS[sign](present.lower(), wanted.lower())
    return OPERATORS[sign](*_versions(present, wanted))


def _versions(first: str, second: str) -> tuple[list[int], list[int]]:
    if re.search(r"[^0-9.]", first + second):
        raise RequirementError("invalid expression")
    numbers = [[int(part) for part in text.split(".") if part] for text in (first, second)]
    width = max(len(parts) for parts in numbers)
    padded = [parts + [0] * (width - len(parts)) for parts in numbers]
    return padded[0], padded[1]
