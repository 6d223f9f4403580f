"""NVIDIA_REQUIRE_CUDA: what an image says that the driver must offer.

Alternatives stand with blanks between, the conditions of one with commas:
``cuda>=13.0 brand=tesla,driver>=550,driver<551``. Only the toolkit's old
modes look at it; under CDI a container starts whatever it says.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpuhost.parse.errors import ParseError
from gpuhost.parse.versions import numbers

VARIABLE = "NVIDIA_REQUIRE_CUDA"

_CONDITION = re.compile(
    r"(?P<name>cuda|driver|arch|brand)(?P<operator>>=|<=|!=|=|>|<)(?P<value>.+)"
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}
_CONSUMER_BRANDS = ("geforce", "titan")


@dataclass(frozen=True)
class Condition:
    """One condition, as ``driver`` ``>=`` ``550``."""

    name: str
    operator: str
    value: str


@dataclass(frozen=True)
class Offer:
    """What a host offers: the driver's CUDA version, its own, the lowest compute capability.

    ``is_consumer`` says whether a GPU is a GeForce or TITAN: for those the
    driver has to be new, for the others cuda-compat stands in.
    """

    cuda: str
    driver: str
    arch: str
    is_consumer: bool


def parse_requirement(text: str) -> tuple[tuple[Condition, ...], ...]:
    """The alternatives of a requirement, each with all of its conditions.

    Raises:
        ParseError: a condition is of another form.
    """
    return tuple(tuple(map(_condition, each.split(","))) for each in text.split())


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ParseError("an NVIDIA_REQUIRE_CUDA", "a condition is of an unknown form", text)
    return Condition(match["name"], match["operator"], match["value"])


def is_met(text: str, offer: Offer) -> bool:
    """Whether the host meets one alternative of the requirement; an empty one is met.

    Raises:
        ParseError: the requirement or a version cannot be read.
    """
    alternatives = parse_requirement(text)
    return not alternatives or any(
        all(_holds(condition, offer) for condition in each) for each in alternatives
    )


def _holds(condition: Condition, offer: Offer) -> bool:
    if condition.name == "brand":
        is_listed = condition.value.startswith(_CONSUMER_BRANDS) is offer.is_consumer
        return is_listed is (condition.operator == "=")
    found = {"cuda": offer.cuda, "driver": offer.driver, "arch": offer.arch}[condition.name]
    wanted = numbers(condition.value)
    # 550.163.01 is a 550: no more digits count than the requirement has.
    return _OPERATORS[condition.operator](numbers(found)[: len(wanted)], wanted)
