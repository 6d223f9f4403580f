"""Versions of packages and drivers, as dpkg, rpm and NVIDIA write them."""

from __future__ import annotations

import re

from gpuhost.parse.errors import ParseError

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_DRIVER = re.compile(r"\d{3,}\.\d+(?:\.\d+)?")


def upstream(version: str) -> str:
    """A package version without epoch and packaging: ``5:26.1.5-1~debian.13`` → ``26.1.5``."""
    without_epoch = version.strip().rpartition(":")[2]
    return without_epoch.partition("-")[0].partition("~")[0].partition("+")[0]


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: ``1.20.0-1`` → ``(1, 20, 0)``.

    Raises:
        ParseError: it does not begin with a number.
    """
    match = _NUMBERS.match(upstream(version))
    if match is None:
        raise ParseError("a version", "it does not begin with a number", version)
    return tuple(int(part) for part in match[0].split("."))


def branch(driver_version: str) -> str:
    """The branch of a driver version: ``580.178.04`` → ``580``.

    Raises:
        ParseError: it is not a driver version.
    """
    if _DRIVER.match(upstream(driver_version)) is None:
        raise ParseError(
            "a driver version", "expected three numbers like 580.178.04", driver_version
        )
    return upstream(driver_version).partition(".")[0]


def same(declared: str, found: str) -> bool:
    """Whether ``found`` is the declared version.

    A declaration with packaging (``1.20.0-1``) is met by exactly that, one
    without (``1.20.0``) by every packaging of it.
    """
    if declared in (found, upstream(found)):
        return True
    has_packaging = upstream(declared) != declared
    return has_packaging and declared.rpartition(":")[2] == found.rpartition(":")[2]
