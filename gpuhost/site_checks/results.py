"""From what pytest told of a site's tests to results of checks. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpuhost.model import CheckResult, Verdict
from gpuhost.site_checks.told import BROKEN, COLLECTED, ENDED

AREA = "site"
SEEN_CHARACTERS = 2000
Line = Mapping[str, Any]


def results(
    lines: Iterable[Line], folder: Path, host: str, why_unfinished: str
) -> tuple[CheckResult, ...]:
    """A result for each test and for each file that is none.

    ``folder`` has the tests, ``host`` is what pytest calls the host in their
    names, ``why_unfinished`` is said of those that were not heard of again.
    """
    told = list(lines)
    tests = [line for line in told if line["kind"] == COLLECTED]
    ends = _ends(line for line in told if line["kind"] == ENDED)
    names = _names(tests, host)
    broken = [
        _broken(folder / line["file"], line["words"]) for line in told if line["kind"] == BROKEN
    ]
    return (*broken, *(_result(names[t["test"]], t, ends, why_unfinished) for t in tests))


def unusable(words: str, remedy: str) -> CheckResult:
    """The one result where pytest could not be run at all."""
    return CheckResult(
        f"{AREA}.checks",
        Verdict.UNKNOWN,
        "the site's checks could not be run",
        seen=words[-SEEN_CHARACTERS:],
        expected="a result of every site check",
        cause="pytest or the connection to the host broke before the first check",
        remedy=remedy,
    )


def _ends(lines: Iterable[Line]) -> dict[str, Line]:
    """How each test ended; a teardown that fails after a failure does not hide that."""
    ends: dict[str, Line] = {}
    for line in lines:
        if line["test"] not in ends or ends[line["test"]]["outcome"] == "passed":
            ends[line["test"]] = line
    return ends


def _names(tests: Sequence[Line], host: str) -> dict[str, str]:
    """``site.<test>``; with the file's name before it where two files have one test."""
    short = {test["test"]: _plain(_bare(test["test"], host)) for test in tests}
    often = Counter(short.values())
    return {
        test: f"{AREA}.{name if often[name] == 1 else _plain(f'{_stem(test)}_{name}')}"
        for test, name in short.items()
    }


def _bare(test: str, host: str) -> str:
    """Without what names the host: ``test_time[ansible://lab-01-a]`` is ``time-a``."""
    # The host's own name has no :: in it, a parameter may.
    name = test.partition("::")[2].replace(f"[{host}", "", 1).rstrip("]")
    return name.removeprefix("test_")


def _stem(test: str) -> str:
    return Path(test.partition("::")[0]).stem.removeprefix("test_")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unnamed"


def _result(name: str, test: Line, ends: Mapping[str, Line], why_unfinished: str) -> CheckResult:
    title, _, mend = test["doc"].partition("\n\n")
    title = " ".join(title.split())
    place = f"{test['file']}:{test['line']}"
    remedy = " ".join(mend.split()) or f"See what it looks at: {place}"
    end = ends.get(test["test"])
    if end is None:
        words, cause = why_unfinished, "the host, or something that the check asks, hangs"
        return CheckResult(name, Verdict.UNKNOWN, words, words, title or name, cause, remedy)
    if end["outcome"] == "passed":
        return CheckResult(name, Verdict.PASS, title or "as the site wants it")
    if end["outcome"] == "skipped":
        return CheckResult(name, Verdict.SKIP, end["words"] or "skipped by the check itself")
    # Addresses in memory are other ones each night.
    words = re.sub(r" at 0x[0-9a-f]+", "", end["words"].strip())
    seen = (words or end["error"])[:SEEN_CHARACTERS]
    expected = title or f"{name} holds"
    if end["said_no"]:
        cause = f"a rule of this site does not hold: {place}"
        first = seen.splitlines()[0]
        summary = f"not so: {title}" if title and first.startswith("assert ") else first
        return CheckResult(name, Verdict.FAIL, summary, seen, expected, cause, remedy)
    summary = "could not be determined: the check itself broke"
    seen, cause = (
        f"{end['error']}: {seen}",
        f"the check has an error, or the host does not answer: {place}",
    )
    return CheckResult(name, Verdict.UNKNOWN, summary, seen, expected, cause, remedy)


def _broken(file: Path, words: str) -> CheckResult:
    return CheckResult(
        f"{AREA}.{_plain(file.stem.removeprefix('test_'))}",
        Verdict.UNKNOWN,
        "the file cannot be read as checks",
        seen=words[:SEEN_CHARACTERS],
        expected="a pytest file with functions test_…(host)",
        cause=f"an error in {file}",
        remedy=f"Correct it; try it with: python -m pytest --collect-only {file}",
    )
