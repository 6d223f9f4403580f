"""Divided GPUs: MIG devices are handed out in their place, and nothing else of them is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.evidence import healthy_desired, healthy_evidence, part_uuid_of, uuid_of

from gpuhost import checks
from gpuhost.model import CheckResult, Verdict

FIRST, SECOND = part_uuid_of(0, 0), part_uuid_of(0, 1)
Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def evidence() -> Any:
    """Two GPUs, the first of them divided in three."""
    return healthy_evidence(2, {0: 3})


def judged(evidence: Any, gpus: int = 2) -> dict[str, CheckResult]:
    return {result.check: result for result in checks.judge(evidence, healthy_desired(gpus))}


def trial(evidence: Any, name: str) -> Any:
    trials = evidence["sections"]["containers"]["data"]["trials"]
    return next(each for each in trials if each["id"] == name)


def test_a_healthy_divided_host_passes_every_check(evidence: Any) -> None:
    results = judged(evidence)
    bad = {name: r for name, r in results.items() if r.verdict not in (Verdict.PASS, Verdict.SKIP)}
    assert bad == {}
    assert "of 1 GPU and 3 MIG devices exact" in results["partition.cdi"].summary
    assert "2 GPUs and 3 MIG devices" in results["cdi.matches"].summary


def test_the_whole_of_a_divided_gpu_is_no_unit_of_the_proof(evidence: Any) -> None:
    asked = [
        each["request"]
        for each in evidence["sections"]["containers"]["data"]["trials"]
        if each["expected_uuids"]
    ]
    requested = {word for request in asked for word in request}
    assert {"0:0", "0:1", "0:2", "1", FIRST, f"nvidia.com/gpu={FIRST}"} <= requested
    assert {"0", uuid_of(0), "nvidia.com/gpu=0"}.isdisjoint(requested)


def leak_a_part(each: dict[str, Any]) -> None:
    each["list_gpus"] += f"  MIG 1g.5gb      Device  1: (UUID: {SECOND})\n"


def leak_a_right(each: dict[str, Any]) -> None:
    each["device_nodes"].append("/dev/nvidia-caps/nvidia-cap75")


def leak_to_nvml(each: dict[str, Any]) -> None:
    each["nvml"] = each["nvml"][:-1] + f', ["{SECOND}", "00000000:17:00.0"]]'


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (leak_a_part, f"also sees {SECOND} (nvidia-smi -L)"),
        (leak_to_nvml, f"also sees {SECOND} at 0000:17:00.0 (NVML inside)"),
        (leak_a_right, "also sees /dev/nvidia-caps/nvidia-cap75 (device nodes)"),
    ],
)
def test_a_mig_device_too_many_is_a_leak_that_is_named(
    evidence: Any, spoil: Spoil, named: str
) -> None:
    spoil(trial(evidence, "runtime/index/0:0"))
    result = judged(evidence)["partition.runtime"]
    assert result.verdict is Verdict.FAIL
    assert named in result.seen


def test_containers_of_a_pair_share_the_gpu_but_no_mig_device(evidence: Any) -> None:
    assert judged(evidence)["partition.pairs"].verdict is Verdict.PASS
    both = trial(evidence, "pair-1/gpus/b")
    both["list_gpus"] += f"  MIG 1g.5gb      Device  3: (UUID: {FIRST})\n"
    result = judged(evidence)["partition.pairs"]
    assert result.verdict is Verdict.FAIL
    assert f"both see {FIRST}" in result.seen


def test_a_divided_gpu_may_be_given_as_a_whole_only_with_nothing_in_it(evidence: Any) -> None:
    whole = trial(evidence, "gpus/divided/0")
    whole.update(
        outcome="ran",
        exit_code=0,
        error=None,
        list_gpus=f"GPU 0: NVIDIA A100 (UUID: {uuid_of(0)})\n",
        device_nodes=["/dev/nvidia0", "/dev/nvidiactl"],
    )
    assert judged(evidence)["partition.refusal"].verdict is Verdict.PASS
    whole["list_gpus"] += f"  MIG 1g.5gb      Device  0: (UUID: {FIRST})\n"
    result = judged(evidence)["partition.refusal"]
    assert result.verdict is Verdict.FAIL
    assert FIRST in result.seen


def test_it_has_to_be_tried_whether_a_divided_gpu_is_given_as_a_whole(evidence: Any) -> None:
    trials = evidence["sections"]["containers"]["data"]["trials"]
    trials.remove(trial(evidence, "cdi/divided/0"))
    result = judged(evidence)["partition.refusal"]
    assert result.verdict is Verdict.UNKNOWN
    assert "cdi: each divided GPU as a whole" in result.seen


def test_a_specification_from_before_the_division_is_stale(evidence: Any) -> None:
    before = healthy_evidence(2)
    specs = before["sections"]["toolkit"]["data"]["cdi_specs"]  # type: ignore[index]
    evidence["sections"]["toolkit"]["data"]["cdi_specs"] = specs
    result = judged(evidence)["cdi.matches"]
    assert result.verdict is Verdict.FAIL
    assert f"not in it: 0:0, 0:1, 0:2, {FIRST}" in result.seen
    assert f"in it and not on the host: 0, {uuid_of(0)}" in result.seen


def test_a_specification_that_gives_the_rights_of_another_mig_device_is_found(
    evidence: Any,
) -> None:
    (spec,) = evidence["sections"]["toolkit"]["data"]["cdi_specs"]
    spec["text"] = spec["text"].replace("nvidia-cap66", "nvidia-cap76", 2)
    result = judged(evidence)["cdi.matches"]
    assert result.verdict is Verdict.FAIL
    assert f"{FIRST} brings" in result.seen


def test_nvidia_smi_and_nvml_have_to_show_the_same_mig_devices(evidence: Any) -> None:
    listing = evidence["sections"]["nvidia_smi"]["data"]["list_gpus"]
    listing["stdout"] = listing["stdout"].replace(SECOND, part_uuid_of(0, 9))
    result = judged(evidence)["smi.list"]
    assert result.verdict is Verdict.FAIL
    assert SECOND in result.seen


def test_a_host_with_many_mig_devices_is_proven_by_a_bounded_number_of_containers() -> None:
    evidence: Any = healthy_evidence(8, dict.fromkeys(range(8), 7))
    trials = evidence["sections"]["containers"]["data"]["trials"]
    assert len(trials) < 2 * 56
    alone = [t for t in trials if t["selector"] in ("index", "uuid") and t["user"] is None]
    asked = {each["expected_uuids"][0] for each in alone if each["image_role"] == "cuda"}
    assert len(asked) == 56
    results = judged(evidence, 8)
    for path in ("gpus", "runtime", "cdi", "pairs", "refusal"):
        assert results[f"partition.{path}"].verdict is Verdict.PASS, path


@pytest.mark.parametrize("position", [0, 9, 55])
def test_a_mig_device_that_was_never_alone_is_not_proven(position: int) -> None:
    evidence: Any = healthy_evidence(8, dict.fromkeys(range(8), 7))
    containers = evidence["sections"]["containers"]["data"]
    uuid = part_uuid_of(position // 7, position % 7)
    containers["trials"] = [
        t
        for t in containers["trials"]
        if t["selector"] not in ("index", "uuid") or t["expected_uuids"] != [uuid]
    ]
    results = judged(evidence, 8)
    unproven = [
        r for path in ("gpus", "runtime", "cdi") if (r := results[f"partition.{path}"]).seen
    ]
    assert [r.verdict for r in unproven] == [Verdict.UNKNOWN]
    assert uuid in unproven[0].seen
