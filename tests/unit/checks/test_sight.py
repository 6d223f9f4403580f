from __future__ import annotations

from typing import Any

from support.evidence import healthy_evidence, uuid_of

from gpuhost.checks.measures import measures
from gpuhost.checks.sight import partition
from gpuhost.model import Partition, Sight, Verdict
from gpuhost.probe.schema import Evidence

PART = "MIG-0a1b2c3d-0000-5000-8000-00000000000{}"


def trial(evidence: Evidence, name: str) -> Any:
    containers = evidence["sections"]["containers"]["data"]
    assert containers is not None
    return next(trial for trial in containers["trials"] if trial["id"] == name)


def found(evidence: Evidence) -> Partition:
    seen = partition(evidence)
    assert seen is not None
    return seen


def sight(evidence: Evidence, name: str) -> Sight:
    return next(each for each in found(evidence).containers if each.trial == name)


def test_on_a_healthy_host_every_container_saw_what_it_asked_for() -> None:
    seen = found(healthy_evidence(4))
    assert list(seen.devices.items()) == [(uuid_of(n), f"GPU {n}") for n in range(4)]
    assert {each.verdict for each in seen.containers} == {Verdict.PASS}
    for each in seen.containers:
        assert set(each.saw) == set(each.asked or ())


def test_a_request_that_has_to_be_refused_asked_for_nothing_there_is() -> None:
    refused = sight(healthy_evidence(2), "gpus/bad-uuid")
    assert (refused.asked, refused.saw, refused.verdict) == (None, (), Verdict.PASS)


def test_a_gpu_that_one_witness_alone_saw_is_seen() -> None:
    evidence = healthy_evidence(4)
    trial(evidence, "cdi/index/0")["device_nodes"] += ["/dev/nvidia3"]
    leaked = sight(evidence, "cdi/index/0")
    assert leaked.saw == (uuid_of(0), uuid_of(3))
    assert leaked.verdict is Verdict.FAIL
    assert "/dev/nvidia3" in leaked.words


def test_a_gpu_that_is_not_of_the_host_is_a_device_under_its_own_name() -> None:
    evidence = healthy_evidence(1)
    foreign = uuid_of(9)
    trial(evidence, "gpus/none")["list_gpus"] = f"GPU 0: NVIDIA A100 (UUID: {foreign})"
    assert found(evidence).devices[foreign] == foreign
    assert sight(evidence, "gpus/none").saw == (foreign,)


def test_a_divided_gpu_is_its_parts() -> None:
    evidence = healthy_evidence(2)
    nvml = evidence["sections"]["nvml"]["data"]
    assert nvml is not None
    nvml["gpus"][1]["mig_current"] = True
    nvml["gpus"][1]["mig_devices"] = [
        {
            "index": n,
            "uuid": PART.format(n),
            "name": None,
            "gpu_instance": n,
            "compute_instance": 0,
        }
        for n in range(2)
    ]
    trial(evidence, "gpus/none")["list_gpus"] = (
        f"GPU 0: NVIDIA A100 (UUID: {uuid_of(1)})\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {PART.format(1)})\n"
    )
    assert list(found(evidence).devices.values())[:3] == ["GPU 0", "GPU 1:0", "GPU 1:1"]
    assert sight(evidence, "gpus/none").saw == (PART.format(1),)


def test_where_no_container_was_started_there_is_no_map() -> None:
    for section in ("containers", "nvml"):
        evidence = healthy_evidence(1)
        evidence["sections"][section]["data"] = None
        assert partition(evidence) is None
        del evidence["sections"][section]
        assert partition(evidence) is None


def test_temperature_and_memory_errors_of_each_gpu_are_figures_to_follow() -> None:
    evidence = healthy_evidence(2)
    health: Any = evidence["sections"]["health"]["data"]
    health["gpus"][1]["ecc_uncorrected_ever"] = 3
    health["gpus"][0]["ecc_uncorrected_ever"] = None
    figures = measures(evidence)
    assert figures["gpu1.ecc_uncorrected_ever"] == 3
    assert "gpu0.ecc_uncorrected_ever" not in figures
    assert "gpu0.temperature_c" in figures
