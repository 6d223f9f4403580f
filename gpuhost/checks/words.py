"""Small pieces of wording that every check uses."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """``1 GPU``, ``4 GPUs``, ``no GPU``."""
    if number == 0:
        return f"no {noun}"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(items: Iterable[object]) -> str:
    """Items with commas between; empty for none."""
    return ", ".join(str(item) for item in items)
