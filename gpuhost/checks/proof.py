"""From examined trials to one finding, with what was not tried counted against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import Finding, failed, not_applicable, passed, undetermined
from gpuhost.checks.gpu import nvml_words
from gpuhost.checks.remedies import VERIFY
from gpuhost.checks.trials import Examined
from gpuhost.checks.words import listed
from gpuhost.model import Verdict
from gpuhost.parse.docker import mechanism

SHOWN = 6


def trials_not_asked(facts: Facts) -> Finding | None:
    """A SKIP, where this run was told to start no containers."""
    if not facts.trials_declined:
        return None
    return not_applicable("not asked for: this run started no containers")


def nothing_ran(facts: Facts, expected: str) -> Finding:
    """An UNKNOWN, with the first thing that tells why there is no trial to judge."""
    words = _why_nothing_ran(facts)
    cause, remedy = explain(words, VERIFY)
    return undetermined(
        "no trial that could show it was run",
        seen=words,
        expected=expected,
        cause=cause,
        remedy=remedy,
    )


def _why_nothing_ran(facts: Facts) -> str:
    pulls = [
        f"{i['reference']}: {i['pull_error']}"
        for i in facts.containers["images"]
        if i["pull_error"]
    ]
    errors = [
        f"{t['id']}: {t['error']}"
        for t in facts.containers["trials"]
        if t["error"] and t["expected_uuids"] is not None
    ]
    no_gpu = [] if facts.nvml["gpus"] else ["NVML shows no GPU"]
    words = [nvml_words(facts.nvml), *pulls, *errors, *no_gpu]
    return next((each for each in words if each), "the evidence has no such trial")


def conclude(
    examined: Sequence[Examined], untried: Collection[str], good: str, subject: str
) -> Finding:
    """One finding for several trials of ``subject``.

    FAIL where one is wrong, else UNKNOWN where one is unclear or a set in
    ``untried`` is missing, else PASS with ``good`` and what really served
    the requests.
    """
    wrong = [each for each in examined if each.verdict is Verdict.FAIL]
    unclear = [each for each in examined if each.verdict is Verdict.UNKNOWN]
    if wrong:
        kinds = listed(Counter(each.kind for each in wrong))
        return failed(
            f"{kinds}: {len(wrong)} of {len(examined)} trials of {subject}",
            seen=_shown(wrong),
            expected="each container sees exactly the GPUs that it asked for",
            cause=wrong[0].cause,
            remedy=wrong[0].remedy,
        )
    if unclear:
        return undetermined(
            f"{len(unclear)} of {len(examined)} trials of {subject} could not be judged",
            seen=_shown(unclear),
            expected="each container sees exactly the GPUs that it asked for",
            cause=unclear[0].cause,
            remedy=unclear[0].remedy,
        )
    if untried or not examined:
        return undetermined(
            f"not every set was tried of {subject}",
            seen=f"not tried: {listed(untried) or 'any'}",
            expected="each GPU alone by index and by UUID, all, none, and halves",
            cause="the probe stopped early, or the evidence is damaged",
            remedy=VERIFY,
        )
    return passed(f"{good}; {served(examined)}")


def _shown(examined: Sequence[Examined]) -> str:
    lines = [
        f"{each.trial['id']}: {f'{each.kind}: ' if each.kind else ''}{each.seen}"
        for each in examined[:SHOWN]
    ]
    if len(examined) > SHOWN:
        lines.append(f"and {len(examined) - SHOWN} more")
    return "\n".join(lines)


def served(examined: Sequence[Examined]) -> str:
    """Which mechanism really served the trials that were given a GPU: ``served by CDI``."""
    ways = Counter(
        mechanism(each.trial["path"], each.trial["served_by"])
        for each in examined
        if each.trial["expected_uuids"]
    )
    if len(ways) == 1:
        return f"served by {next(iter(ways))}"
    return "served by " + listed(f"{way} ({times})" for way, times in ways.items())
