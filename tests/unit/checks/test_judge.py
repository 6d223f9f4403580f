"""No check passes by accident: whatever is missing or damaged, the verdict says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evidence import healthy_desired, healthy_evidence

from gpuhost.checks import catalog, judge
from gpuhost.checks import registry as registry_room
from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, passed
from gpuhost.errors import UsageError
from gpuhost.model import Desired, Suite, Verdict
from gpuhost.probe.schema import SECTIONS
from gpuhost.probe.trials import GROUPS

HEALTHY = healthy_evidence()
DESIRED = healthy_desired()
NAMES = [info.name for info in catalog()]
PROOFS = [name for name in NAMES if name.startswith(("container.", "partition."))]


# What the healthy host has no use for.
# There is no NVSwitch, and no layout is declared.
NOT_JUDGED = {"gpu.fabric", "driver.fabric_manager", "gpu.mig"}


def verdicts(evidence: Any, desired: Desired = DESIRED) -> dict[str, Verdict]:
    return {result.check: result.verdict for result in judge(evidence, desired)}


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_a_healthy_host_passes_every_check_that_applies_to_it(gpus: int) -> None:
    results = judge(healthy_evidence(gpus), healthy_desired(gpus))
    others = {r.check: r for r in results if r.verdict is not Verdict.PASS}
    assert set(others) == NOT_JUDGED | ({"partition.pairs"} if gpus == 1 else set())
    assert all(r.verdict is Verdict.SKIP for r in others.values())


def test_every_check_explains_itself_and_reads_known_sections() -> None:
    for info in catalog():
        assert info.title, info.name
        assert len(info.why) > 30, info.name
        assert len(info.mend) > 40, f"{info.name}: what to do is its docstring's second paragraph"
        assert info.why != info.mend, info.name
        assert info.needs, info.name
        assert set(info.needs) <= set(SECTIONS), info.name
        assert info.name.startswith(f"{info.area}."), info.name
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_error_of_a_section_is_unknown_in_its_own_words(section: str) -> None:
    evidence = copy.deepcopy(HEALTHY)
    # In the place of the health that NVML tells there is what nvidia-smi does (test_witnesses.py).
    gone = {section, "nvidia_smi"} if section == "health" else {section}
    for name in gone:
        evidence["sections"][name] = {
            "error": "the disk said boom",
            "duration_s": 0.0,
            "data": None,
        }
    for info, result in zip(catalog(), judge(evidence, DESIRED), strict=True):
        if gone & set(info.needs):
            assert result.verdict is Verdict.UNKNOWN, info.name
            assert "the disk said boom" in result.seen
        else:
            expected = Verdict.SKIP if info.name in NOT_JUDGED else Verdict.PASS
            assert result.verdict is expected, f"{info.name} reads {section} undeclared"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_was_asked_for_and_is_missing_is_unknown(section: str) -> None:
    evidence = copy.deepcopy(HEALTHY)
    del evidence["sections"][section]
    found = verdicts(evidence)
    assert all(found[info.name] is Verdict.UNKNOWN for info in catalog() if section in info.needs)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_was_not_asked_for_is_skipped(section: str) -> None:
    evidence = copy.deepcopy(HEALTHY)
    del evidence["sections"][section]
    evidence["spec"]["sections"].remove(section)
    found = verdicts(evidence)
    assert all(found[info.name] is Verdict.SKIP for info in catalog() if section in info.needs)


def test_without_a_spec_everything_counts_as_asked_for() -> None:
    evidence: Any = copy.deepcopy(HEALTHY)
    del evidence["spec"]
    del evidence["sections"]["containers"]
    found = verdicts(evidence)
    assert {found[name] for name in PROOFS} == {Verdict.UNKNOWN}


def test_evidence_of_another_schema_is_unknown_throughout() -> None:
    evidence = copy.deepcopy(HEALTHY)
    evidence["schema_version"] = 99
    results = judge(evidence, DESIRED)
    assert {result.verdict for result in results} == {Verdict.UNKNOWN}
    assert "schema version 99" in results[0].seen


@pytest.mark.parametrize("evidence", [None, [], "", 7, {}, {"schema_version": 1}])
def test_what_is_no_evidence_at_all_is_unknown_throughout(evidence: Any) -> None:
    assert set(verdicts(evidence).values()) == {Verdict.UNKNOWN}


def test_a_check_that_breaks_is_unknown_and_shows_the_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_facts: Facts) -> Finding:
        raise ZeroDivisionError("in the check")

    found = registry_room.all_checks()
    bad = registry_room.Check(found[0].info, broken)
    monkeypatch.setattr(registry_room, "all_checks", lambda: (bad, *found[1:]))
    first, second, *_ = judge(HEALTHY, DESIRED)
    assert first.verdict is Verdict.UNKNOWN
    assert "ZeroDivisionError: in the check" in first.seen
    assert "test_judge.py" in first.seen
    assert second.verdict is Verdict.PASS


def test_nothing_declared_is_never_a_pass_of_a_declaration() -> None:
    results = {r.check: r for r in judge(HEALTHY, Desired())}
    for name in ("gpu.count", "gpu.model", "gpu.uuids", "docker.version", "driver.branch"):
        assert results[name].verdict is Verdict.SKIP
        assert "not declared" in results[name].summary
        assert results[name].seen, "what there is to declare is shown"
    assert results["users.docker_group"].verdict is Verdict.SKIP
    assert results["partition.user"].verdict is Verdict.SKIP
    assert results["container.cuda"].verdict is Verdict.SKIP


def test_named_checks_are_judged_alone() -> None:
    results = judge(HEALTHY, DESIRED, ["driver.loaded", "gpu.count"])
    assert [result.check for result in results] == ["gpu.count", "driver.loaded"]


def test_an_unknown_name_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"driver\.loadet.*driver\.loaded"):
        judge(HEALTHY, DESIRED, ["driver.loadet"])


def test_each_suite_holds_the_one_before_it_and_quick_starts_few_containers() -> None:
    quick, standard, full = (
        {found.info.name for found in registry_room.select([], suite)} for suite in Suite
    )
    assert quick < standard <= full == set(NAMES)
    _, trials = registry_room.requirements(registry_room.select([], Suite.QUICK))
    assert trials == ("cuda",)


def test_checks_that_judge_trials_name_them() -> None:
    for info in catalog():
        assert bool(info.trials) == ("containers" in info.needs), info.name
        assert set(info.trials) <= set(GROUPS), info.name


@pytest.mark.parametrize("name", [name for name in PROOFS if name != "container.cleanup"])
def test_trials_that_were_not_asked_for_are_skipped(name: str) -> None:
    evidence: Any = copy.deepcopy(HEALTHY)
    evidence["spec"]["trials"]["groups"] = ["nothing"]
    assert verdicts(evidence)[name] is Verdict.SKIP


def test_every_section_is_described() -> None:
    assert set(registry_room.SECTION_WORDS) == set(SECTIONS)


def test_two_checks_of_one_name_are_refused() -> None:
    decorate = registry_room.check
    with pytest.raises(ValueError, match=r"two checks named gpu\.count"):
        decorate("gpu.count", "again", needs=("nvml",))(lambda _facts: passed("fine"))


def test_a_check_outside_every_area_is_refused() -> None:
    with pytest.raises(ValueError, match="no area"):
        registry_room.check("weather.today", "It is sunny", needs=("system",))


# ------------------------------------------------------------------- at random

Path = tuple[Any, ...]


def paths_of(node: Any, at: Path = ()) -> list[Path]:
    """Every place in a JSON document."""
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    here = [at] if at else []
    return here + [path for key, child in children for path in paths_of(child, (*at, key))]


PLACES = [p for p in paths_of(healthy_evidence(2)) if p[0] != "probe"]
JUNK = st.sampled_from([None, [], {}, "", "ERR!", -1, True, [None], {"a": 1}, "\x00"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4))
def test_no_damage_to_the_evidence_makes_judging_raise(damage: list[tuple[Path, Any]]) -> None:
    evidence: Any = healthy_evidence(2)
    for path, junk in damage:
        put(evidence, path, junk)
    for result in judge(evidence, healthy_desired(2)):
        if result.verdict not in (Verdict.PASS, Verdict.SKIP):
            assert result.seen, result
            assert result.expected, result
            assert result.cause, result
            assert result.remedy, result


def put(document: Any, path: Path, value: Any) -> None:
    """Put ``value`` in place, if an earlier damage has left the place standing."""
    for key in path[:-1]:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(document, dict) or (
        isinstance(document, list) and isinstance(path[-1], int) and path[-1] < len(document)
    ):
        document[path[-1]] = value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_uuid_removed_doubled_or_altered_in_a_trial_never_passes(data: st.DataObject) -> None:
    evidence: Any = copy.deepcopy(HEALTHY)
    trials = evidence["sections"]["containers"]["data"]["trials"]
    trial = data.draw(st.sampled_from([t for t in trials if t["expected_uuids"]]))
    witness = data.draw(st.sampled_from(["expected_uuids", "list_gpus", "query", "nvml"]))
    change = data.draw(st.sampled_from(["remove", "double", "alter"]))
    trial[witness] = spoil(trial[witness], change)
    found = verdicts(evidence)
    assert {found[name] for name in PROOFS} & {Verdict.FAIL, Verdict.UNKNOWN}, trial["id"]
    for name in checks_of(trial):
        assert found[name] in (Verdict.FAIL, Verdict.UNKNOWN), (name, trial["id"], witness)


def checks_of(trial: Any) -> list[str]:
    """The checks that a trial is evidence for."""
    names = []
    if trial["user"]:
        names.append("partition.user")
    elif trial["image_role"] == "cuda":
        names.append(f"partition.{trial['path']}")
        names += ["container.cuda"] if trial["selector"] == "all" else []
    if trial["image_role"] == "ngc":
        names.append("container.ngc")
    return [*names, "partition.pairs"] if trial["pair"] else names


def spoil(value: Any, change: str) -> Any:
    """The same witness with one GPU fewer, one twice, or another."""
    if isinstance(value, list):
        last = value[-1]
        edited = {"remove": [], "double": [last, last], "alter": [other(last)]}[change]
        return [*value[:-1], *edited]
    if value.startswith("["):
        head, _, last = value.rpartition("[")
        row = f"[{last[:-1]}"
        edited_json = {"remove": "", "double": f"{row}, {row}", "alter": other(row)}[change]
        return (head + edited_json).rstrip(", ") + "]"
    *lines, last = value.splitlines()
    edited = {"remove": [], "double": [last, last], "alter": [other(last)]}[change]
    return "".join(f"{line}\n" for line in [*lines, *edited])


def other(text: str) -> str:
    return text.replace("e418", "e419")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_trial_that_vanished_is_missed(data: st.DataObject) -> None:
    evidence: Any = copy.deepcopy(HEALTHY)
    trials = evidence["sections"]["containers"]["data"]["trials"]
    # What a trial shows that others show too is not missed: halves across paths, one of NGC.
    candidates = [t for t in trials if not t["id"].startswith(("pair-4/", "ngc/gpus/uuid"))]
    trial = data.draw(st.sampled_from(candidates))
    trials.remove(trial)
    found = verdicts(evidence)
    assert {found[name] for name in PROOFS} & {Verdict.UNKNOWN, Verdict.FAIL}, trial["id"]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(SECTIONS), min_size=1))
def test_without_sections_no_proof_passes_that_needs_them(gone: set[str]) -> None:
    evidence = copy.deepcopy(HEALTHY)
    for section in gone:
        del evidence["sections"][section]
    found = verdicts(evidence)
    for info in catalog():
        if gone & set(info.needs):
            assert found[info.name] is Verdict.UNKNOWN


def test_what_a_program_printed_by_the_megabyte_is_cut_in_the_report() -> None:
    evidence: Any = copy.deepcopy(HEALTHY)
    flood = {"rc": 3, "stdout": "y" * 1_000_000, "stderr": ""}
    evidence["sections"]["nvidia_smi"]["data"]["list_gpus"].update(flood)
    (result,) = judge(evidence, DESIRED, ["smi.list"])
    assert result.verdict is Verdict.FAIL
    assert len(result.seen) < 5000
    assert result.seen.endswith("… (1000000 characters)")
