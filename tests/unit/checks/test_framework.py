"""container.compute and container.throughput: what PyTorch did on the GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.evidence import throughput

from gpuhost.checks.measures import measures
from gpuhost.model import Verdict

CHECKS = ("container.compute", "container.throughput")
CPU = {"index": 0, "name": None, "exact": True, "tflops": 0.05, "images_per_s": 4.2}


def measured(host: Any, **changes: Any) -> None:
    host.section("throughput").update(throughput(4, **changes))


def devices(**of_gpu_2: Any) -> list[dict[str, Any]]:
    good = {"name": "NVIDIA A100", "exact": True, "tflops": 600.0, "images_per_s": 2500.0}
    return [{"index": index, **good, **(of_gpu_2 if index == 2 else {})} for index in range(4)]


def test_a_host_whose_gpus_compute_passes_and_tells_the_figures(host: Any) -> None:
    assert host.check("container.compute").verdict is Verdict.PASS
    found = host.check("container.throughput")
    assert found.verdict is Verdict.PASS
    assert "2500 to 2503 images/s" in found.summary
    assert "gpuhost_images_per_second: 2500" in found.summary


@pytest.mark.parametrize("check", CHECKS)
def test_a_framework_without_cuda_is_skipped_and_says_so(host: Any, check: str) -> None:
    measured(host, cuda=None, available=False, devices=[CPU])
    found = host.check(check)
    assert found.verdict is Verdict.SKIP
    assert found.summary.startswith("CUDA not exercised")
    assert "4.2 images/s" in found.summary


@pytest.mark.parametrize("check", CHECKS)
def test_a_framework_that_sees_no_gpu_although_it_was_built_for_them_fails(
    host: Any, check: str
) -> None:
    measured(host, available=False, devices=[])
    found = host.check(check)
    assert found.verdict is Verdict.FAIL
    assert "0 of 4 GPUs" in found.summary
    assert found.remedy.startswith("docker run")


def test_a_gpu_that_breaks_off_is_named_with_its_last_words(host: Any) -> None:
    measured(host, devices=devices(error="CUDA error: an illegal memory access"))
    found = host.check("container.compute")
    assert found.verdict is Verdict.FAIL
    assert "GPU 2" in found.summary
    assert "illegal memory access" in found.seen


def test_a_gpu_that_computes_wrongly_is_named(host: Any) -> None:
    measured(host, devices=devices(exact=False))
    found = host.check("container.compute")
    assert found.verdict is Verdict.FAIL
    assert found.summary == "GPU 2 computed wrongly"


def test_a_gpu_that_is_slower_than_its_siblings_is_a_warning(host: Any) -> None:
    measured(host, devices=devices(images_per_s=2200.0))
    found = host.check("container.throughput")
    assert found.verdict is Verdict.WARN
    assert "GPU 2" in found.summary


@pytest.mark.parametrize(
    ("declared", "verdict"), [(2700.0, Verdict.PASS), (2800.0, Verdict.FAIL), (None, Verdict.PASS)]
)
def test_the_declared_speed_is_held_with_its_tolerance(
    host: Any, declared: float | None, verdict: Verdict
) -> None:
    host.desired = replace(host.desired, images_per_s=declared)
    measured(host, devices=devices())
    assert host.check("container.throughput").verdict is verdict


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("busy", Verdict.SKIP),
        ("not asked", Verdict.SKIP),
        ("no image", Verdict.UNKNOWN),
        ("refused", Verdict.UNKNOWN),
        ("timeout", Verdict.UNKNOWN),
    ],
)
def test_what_was_not_measured_never_passes(
    host: Any, check: str, outcome: str, verdict: Verdict
) -> None:
    host.section("throughput").update(outcome=outcome, error="4711 python3", stdout="")
    found = host.check(check)
    assert found.verdict is verdict
    assert "4711 python3" in found.summary + found.seen


@pytest.mark.parametrize("stdout", ["", "Killed", "[]", '{"torch": "2.1"}', "null"])
@pytest.mark.parametrize("check", CHECKS)
def test_output_that_is_not_the_benchmarks_is_unknown(host: Any, check: str, stdout: str) -> None:
    host.section("throughput").update(stdout=stdout, stderr="Bus error")
    found = host.check(check)
    assert found.verdict is Verdict.UNKNOWN
    assert "Bus error" in found.seen


def test_the_figures_of_gpus_are_followed_over_time_and_a_cpus_are_not(host: Any) -> None:
    assert measures(host.evidence)["gpu3.images_per_s"] == 2503.0
    measured(host, cuda=None, available=False, devices=[CPU])
    assert "gpu0.images_per_s" not in measures(host.evidence)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ("ModuleNotFoundError: No module named 'torch'", Verdict.SKIP),
        ("ModuleNotFoundError: No module named 'numpy'", Verdict.FAIL),
        ("ImportError: libcudart.so.12: cannot open shared object file", Verdict.FAIL),
    ],
)
def test_a_framework_that_is_not_there_is_told_from_one_that_is_broken(
    host: Any, error: str, verdict: Verdict
) -> None:
    measured(host, torch=None, cuda=None, available=False, devices=[], error=error)
    found = host.check("container.compute")
    assert found.verdict is verdict
    assert error in found.summary + found.seen
