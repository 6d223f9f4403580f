"""Parameters of a workload: declared with type, default and range, given as NAME=VALUE."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpuhost.errors import UsageError
from gpuhost.specs import CONVERTERS
from gpuhost.suggest import did_you_mean

# A path on this machine, whose content goes to the host: see archives.py.
ARCHIVE = "archive"
# A program's arguments, quoted as in a shell; parameters may be named in them.
WORDS = "words"


def _words(value: Any) -> str:
    try:
        shlex.split(str(value))
    except ValueError as error:
        raise ValueError(f"words as a shell takes them ({error})") from None
    return str(value)


TYPES: Mapping[str, Callable[[Any], Any]] = {
    **{name: CONVERTERS[name] for name in ("str", "int", "float", "bool")},
    ARCHIVE: CONVERTERS["str"],
    WORDS: _words,
}


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``minimum`` and ``maximum`` are of numbers, both inclusive.

    ``required`` is of those without which nothing can run, though it can be shown.
    ``contains`` is of archives: the parameter that names a file which has to be in it.
    ``verify`` is the value that a verification takes, if it is another than the default.
    """

    name: str
    type: str
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    contains: str = ""
    required: bool = False
    verify: Any = None

    def checked(self, value: Any) -> Any:
        """The value in the parameter's type.

        Raises:
            UsageError: it is of another type, out of range or none of the choices.
        """
        try:
            converted = TYPES[self.type](value)
        except ValueError as error:
            raise UsageError(f"{self.name} is {value!r}: it must be {error}.", self.help) from None
        if self.choices and converted not in self.choices:
            names = ", ".join(map(str, self.choices))
            raise UsageError(f"{self.name} is {converted!r}: it must be one of {names}.", self.help)
        if not self._is_in_range(converted):
            raise UsageError(f"{self.name} is {converted!r}: it must be {self.range}.", self.help)
        return converted

    def _is_in_range(self, value: Any) -> bool:
        low = self.minimum is None or value >= self.minimum
        return low and (self.maximum is None or value <= self.maximum)

    @property
    def range(self) -> str:
        """The range in words; empty where there is none."""
        if self.minimum is None:
            return "" if self.maximum is None else f"{self.maximum:g} or less"
        if self.maximum is None:
            return f"{self.minimum:g} or more"
        return f"from {self.minimum:g} to {self.maximum:g}"


def resolve(parameters: Mapping[str, Parameter], given: Iterable[str]) -> dict[str, Any]:
    """Every parameter's value, from NAME=VALUE words and the defaults.

    Raises:
        UsageError: a word that is none, a name that is not declared, a value that is wrong.
    """
    values = {parameter.name: parameter.default for parameter in parameters.values()}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not NAME=VALUE.", "Write it like --set epochs=3.")
        if name not in parameters:
            raise UsageError(
                f"There is no parameter {name!r}.{did_you_mean(name, parameters)}",
                f"There are: {', '.join(parameters)}" if parameters else "It takes none.",
            )
        values[name] = parameters[name].checked(value)
    return values


def lacking(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> Parameter | None:
    """The first parameter that has to be given and is not."""
    required = (parameter for parameter in parameters.values() if parameter.required)
    return next((p for p in required if values[p.name] in ("", None)), None)
