"""Which of two versions is the newer one, as dpkg and as rpm order them."""

from __future__ import annotations

import re
from collections.abc import Callable

Compare = Callable[[str, str], int]


def compare_deb(one: str, other: str) -> int:
    """Negative, 0 or positive, as dpkg orders versions."""
    for a, b in zip(_deb_parts(one), _deb_parts(other), strict=True):
        order = _compare_deb_part(a, b)
        if order:
            return order
    return 0


def _deb_parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "0")


def _compare_deb_part(one: str, other: str) -> int:
    while one or other:
        a, b = re.match(r"[^0-9]*", one), re.match(r"[^0-9]*", other)
        letters, others = (a.group() if a else ""), (b.group() if b else "")
        for place in range(max(len(letters), len(others))):
            order = _weight(letters[place : place + 1]) - _weight(others[place : place + 1])
            if order:
                return order
        one, other = one[len(letters) :], other[len(others) :]
        a, b = re.match(r"[0-9]*", one), re.match(r"[0-9]*", other)
        digits, more = (a.group() if a else ""), (b.group() if b else "")
        order = int(digits or 0) - int(more or 0)
        if order:
            return order
        one, other = one[len(digits) :], other[len(more) :]
    return 0


def _weight(character: str) -> int:
    """Where a character sorts: the tilde before the end, letters before all else."""
    if not character:
        return 0
    if character.isalpha():
        return ord(character)
    return -1 if character == "~" else ord(character) + 256


def compare_rpm(one: str, other: str) -> int:
    """Negative, 0 or positive, as rpm orders versions; a release that one lacks is not compared."""
    epoch, version, release = _rpm_parts(one)
    other_epoch, other_version, other_release = _rpm_parts(other)
    order = int(epoch) - int(other_epoch) or _compare_rpm_part(version, other_version)
    if order or not (release and other_release):
        return order
    return _compare_rpm_part(release, other_release)


def _rpm_parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    number, _, release = rest.partition("-")
    return epoch, number, release


def _compare_rpm_part(one: str, other: str) -> int:
    tokens = [re.findall(r"\d+|[a-zA-Z]+|~|\^", text) for text in (one, other)]
    for place in range(max(map(len, tokens))):
        order = _compare_rpm_tokens(*(side[place] if place < len(side) else "" for side in tokens))
        if order:
            return order
    return 0


def _compare_rpm_tokens(one: str, other: str) -> int:
    if one == other:
        return 0
    if "~" in (one, other):
        return -1 if one == "~" else 1
    if "^" in (one, other):
        # It is newer than the end, and older than whatever else follows.
        mine = one == "^"
        return 1 if mine is ((other if mine else one) == "") else -1
    if one.isdigit() and other.isdigit():
        return int(one) - int(other)
    # Numbers are newer than words, and words than the end.
    ranks = [(side.isdigit(), side) for side in (one, other)]
    return 1 if ranks[0] > ranks[1] else -1
