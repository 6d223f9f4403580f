"""What did not pass on a host, by cause: ten checks that one cause spoiled are one trouble."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gpuhost.model import UNKNOWN_CAUSE, CheckResult, HostReport, Verdict

# Worst first: what has to be mended stands nearest to the heading.
DETAILED = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.WARN)

# Results that say the same.
Alike = list[CheckResult]


def of_one_cause(host: HostReport) -> list[list[Alike]]:
    """What did not pass, worst first: of one cause, which one remedy mends, together."""
    causes: dict[tuple[str, ...], list[Alike]] = defaultdict(list)
    for verdict in DETAILED:
        for alike in _alike(result for result in host.results if result.verdict is verdict):
            first = alike[0]
            # What gpuhost does not know may have many causes, and has to be read itself.
            is_known = first.cause not in ("", UNKNOWN_CAUSE)
            own = () if is_known else (first.check, first.seen)
            causes[first.cause, first.remedy, *own].append(alike)
    return list(causes.values())


def _alike(results: Iterable[CheckResult]) -> list[Alike]:
    groups: dict[tuple[str, ...], Alike] = defaultdict(list)
    for result in results:
        groups[result.summary, result.seen, result.cause, result.remedy].append(result)
    return list(groups.values())
