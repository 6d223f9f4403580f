"""What a check function returns, and the five ways to say it."""

from __future__ import annotations

from dataclasses import dataclass

from gpuhost.model import Verdict


@dataclass(frozen=True)
class Finding:
    """A verdict with its grounds; everything but PASS and SKIP fills in all of them."""

    verdict: Verdict
    summary: str
    seen: str = ""
    expected: str = ""
    cause: str = ""
    remedy: str = ""


def passed(summary: str) -> Finding:
    """The host is what it should be."""
    return Finding(Verdict.PASS, summary)


def failed(summary: str, *, seen: str, expected: str, cause: str, remedy: str) -> Finding:
    """The host is not what it should be."""
    return Finding(Verdict.FAIL, summary, seen, expected, cause, remedy)


def warned(summary: str, *, seen: str, expected: str, cause: str, remedy: str) -> Finding:
    """The host works, and something about it will cause trouble."""
    return Finding(Verdict.WARN, summary, seen, expected, cause, remedy)


def undetermined(summary: str, *, seen: str, expected: str, cause: str, remedy: str) -> Finding:
    """What was read does not allow a verdict."""
    return Finding(Verdict.UNKNOWN, summary, seen, expected, cause, remedy)


def not_applicable(reason: str) -> Finding:
    """There is nothing to judge on this host."""
    return Finding(Verdict.SKIP, reason)


def not_declared(variable: str, found: str) -> Finding:
    """The inventory does not say what the host should be, so nothing is held against it."""
    return Finding(
        Verdict.SKIP,
        f"not declared: {variable}",
        seen=found,
        expected=f"{variable} in the inventory",
        cause="nothing is declared to compare with",
        remedy=f"Declare {variable} for this host in the inventory.",
    )
