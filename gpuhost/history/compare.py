"""What became of a host's checks from one run to another. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from gpuhost.history.records import BAD, Examination
from gpuhost.model import Verdict

# How many earlier runs are looked at, and how many changes between good and bad in them are
# too many to be one fault and its repair.
WINDOW = 10
FLAPS = 3


class Kind(StrEnum):
    """What became of a check."""

    NEW = "new"
    STILL = "still failing"
    FLAPPING = "flapping"
    FIXED = "fixed"
    UNJUDGED = "no longer judged"


KINDS = tuple(Kind)


@dataclass(frozen=True)
class Transition:
    """What became of one check of one host, with its verdict before and now.

    ``before`` is None where the check was not judged before. ``starts`` says
    that it became so in this very run: only that is news.
    """

    host: str
    check: str
    kind: Kind
    before: Verdict | None
    now: Verdict
    summary: str = ""
    starts: bool = True


@dataclass(frozen=True)
class Change:
    """A fact of a host that is another than before; empty where there was none."""

    fact: str
    before: str
    now: str


@dataclass(frozen=True)
class Onset:
    """Since when a check has been bad.

    ``first_bad`` is the oldest run of the present streak; ``last_good`` the
    one before it, None where no good one is on record; ``changes`` what was
    different on the host between the two.
    """

    first_bad: Examination
    last_good: Examination | None
    changes: tuple[Change, ...] = ()


def transitions(now: Examination, earlier: Sequence[Examination]) -> tuple[Transition, ...]:
    """What became of each check of a host in ``now``; ``earlier`` is newest first.

    Good checks that were good are left out. A check that was skipped, or a
    host that could not be examined, says nothing of a check: the last verdict
    before that counts.
    """
    found = []
    for check in dict.fromkeys([*now.verdicts, *_bad_before(earlier)]):
        verdicts = [seen for e in earlier[:WINDOW] if (seen := judged(e, check))]
        kind = _kind(judged(now, check), verdicts)
        if kind is None:
            continue
        previous = verdicts[0] if verdicts else None
        found.append(
            Transition(
                host=now.host,
                check=check,
                kind=kind,
                before=previous,
                now=now.verdicts.get(check, Verdict.SKIP),
                summary=now.summaries.get(check, ""),
                starts=_starts(kind, verdicts, was_judged=_was_judged(earlier, check)),
            )
        )
    return tuple(sorted(found, key=lambda t: (KINDS.index(t.kind), t.check)))


def judged(examination: Examination, check: str) -> Verdict | None:
    """The verdict of a check; None where it was skipped or not made."""
    verdict = examination.verdicts.get(check)
    return None if verdict is Verdict.SKIP else verdict


def _bad_before(earlier: Sequence[Examination]) -> list[str]:
    checks = dict.fromkeys(check for e in earlier[:WINDOW] for check in e.verdicts)
    return [check for check in checks if _last(earlier, check) in BAD]


def _last(earlier: Sequence[Examination], check: str) -> Verdict | None:
    return next((seen for e in earlier[:WINDOW] if (seen := judged(e, check))), None)


def _was_judged(earlier: Sequence[Examination], check: str) -> bool:
    return bool(earlier) and judged(earlier[0], check) is not None


def _kind(now: Verdict | None, verdicts: Sequence[Verdict]) -> Kind | None:
    was_bad = bool(verdicts) and verdicts[0] in BAD
    if now is None:
        return Kind.UNJUDGED if was_bad else None
    is_bad = now in BAD
    if _flaps([now, *verdicts]):
        return Kind.FLAPPING
    if is_bad:
        return Kind.STILL if was_bad else Kind.NEW
    return Kind.FIXED if was_bad else None


def _flaps(verdicts: Sequence[Verdict]) -> bool:
    bad = [verdict in BAD for verdict in verdicts[: WINDOW + 1]]
    return sum(one != other for one, other in pairwise(bad)) >= FLAPS


def _starts(kind: Kind, verdicts: Sequence[Verdict], *, was_judged: bool) -> bool:
    if kind is Kind.STILL:
        return False
    if kind is Kind.FLAPPING:
        return not _flaps(verdicts)
    if kind is Kind.UNJUDGED:
        return was_judged
    return True


def onset(check: str, newest_first: Sequence[Examination]) -> Onset | None:
    """Since when ``check`` has been bad without a break; None if it is not."""
    first_bad: Examination | None = None
    for examination in newest_first:
        verdict = judged(examination, check)
        if verdict is None:
            continue
        if verdict not in BAD:
            if first_bad is None:
                return None
            return Onset(first_bad, examination, changes(examination.facts, first_bad.facts))
        first_bad = examination
    return Onset(first_bad, None) if first_bad else None


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[Change, ...]:
    """The facts that are different, in the order of the newer."""
    return tuple(
        Change(fact, before.get(fact, ""), now.get(fact, ""))
        for fact in dict.fromkeys([*now, *before])
        if before.get(fact, "") != now.get(fact, "")
    )
