"""From evidence to verdicts: every check is called, and none can pass by accident."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace

from gpuhost.checks.facts import Facts, SectionMissingError, SectionNotAskedError
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import Finding, not_applicable, undetermined
from gpuhost.checks.registry import PRESENT, Check, presence, select
from gpuhost.checks.remedies import VERIFY
from gpuhost.model import CheckResult, Desired, Verdict
from gpuhost.probe.schema import Evidence

SEEN_CHARACTERS = 4000


def judge(
    evidence: Evidence, desired: Desired, names: Collection[str] = ()
) -> tuple[CheckResult, ...]:
    """The verdicts of the checks ``names`` (all by default) on one host's evidence.

    Never raises on account of the evidence, whatever is wrong with it: what
    cannot be judged is UNKNOWN.

    Raises:
        UsageError: a name that no check has.
    """
    facts = Facts(evidence, desired)
    missing = {
        component: found.summary
        for component, check in presence().items()
        if (found := _finding(check, facts)).verdict is Verdict.FAIL
    }
    return tuple(
        CheckResult(
            check=check.info.name, **asdict(_pointless(check, missing) or _finding(check, facts))
        )
        for check in select(names)
    )


def _pointless(check: Check, missing: Mapping[str, str]) -> Finding | None:
    """A SKIP where the host lacks what the check looks at: told once, by the check of that."""
    component = next((each for each in check.info.wants if each in missing), None)
    if component is None:
        return None
    return not_applicable(f"because {missing[component]} ({component}.{PRESENT})")


def _finding(check: Check, facts: Facts) -> Finding:
    try:
        for section in check.info.needs:
            facts.section(section)
        for group in check.info.trials:
            facts.require_trials(group)
        return _of_bearable_length(_with_its_witness(check, facts, check.judge(facts)))
    except SectionNotAskedError as missing:
        return not_applicable(f"not asked for: this run did not read {missing.section}")
    except SectionMissingError as missing:
        return _of_bearable_length(_unread(missing))
    except Exception as error:  # noqa: BLE001  (a check that breaks must not pass, nor stop others)
        return _bug(check, error)


def _with_its_witness(check: Check, facts: Facts, finding: Finding) -> Finding:
    """The same; where nvidia-smi spoke for NVML, it says so."""
    if "health" not in check.info.needs or not facts.is_second_hand:
        return finding
    return replace(
        finding, summary=f"{finding.summary}; as nvidia-smi tells, NVML could not be loaded"
    )


def _of_bearable_length(finding: Finding) -> Finding:
    """The same, cut where a program printed megabytes: the evidence has all of it."""
    if len(finding.seen) <= SEEN_CHARACTERS:
        return finding
    return replace(
        finding, seen=f"{finding.seen[:SEEN_CHARACTERS]}… ({len(finding.seen)} characters)"
    )


def _unread(missing: SectionMissingError) -> Finding:
    cause, remedy = explain(missing.words, f"{VERIFY}  # reads the host again")
    return undetermined(
        f"could not be determined: {missing.section} was not read",
        seen=missing.words,
        expected=f"the section {missing.section!r} of the evidence",
        cause=cause,
        remedy=remedy,
    )


def _bug(check: Check, error: Exception) -> Finding:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return undetermined(
        "could not be determined: the check itself broke",
        seen=f"{type(error).__name__}: {error} ({place})",
        expected=f"a judgement of {check.info.name}",
        cause="the evidence is incomplete or damaged, or this check has a bug",
        remedy="Report it, with the evidence file that the report names.",
    )
