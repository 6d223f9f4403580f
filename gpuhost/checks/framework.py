"""Real work in the framework image: does PyTorch compute right on each GPU, and as fast as it did.

nvidia-smi needs no CUDA: a GPU that it shows may still be unable to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import Finding, failed, not_applicable, passed, undetermined, warned
from gpuhost.checks.proof import trials_not_asked
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import VERIFY
from gpuhost.checks.words import counted, listed
from gpuhost.model import Suite
from gpuhost.parse.benchmark import Benchmark, Device, parse_benchmark
from gpuhost.parse.errors import ParseError

VARIABLE = "gpuhost_images_per_second"
SIBLINGS = 2
# The framework is not in the image at all; any other error of importing it is a fault.
NOT_THERE = "ModuleNotFoundError: No module named 'torch'"
LOOK = f"{VERIFY} --check speed.clocks --check speed.temperature --check speed.pcie"

_NEEDS = ("containers", "nvml", "throughput")


def _measured(facts: Facts) -> Benchmark | Finding:
    """What the GPUs did; a finding where they did nothing that could be judged."""
    if not facts.desired.ngc_image:
        return not_applicable("no framework image is declared (gpuhost_ngc_image)")
    found = facts.throughput
    not_started = {
        "not asked": str(found["error"]),
        "busy": f"the GPUs are in use, so nothing was measured: {found['error']}",
    }
    if found["outcome"] in not_started:
        return trials_not_asked(facts) or not_applicable(not_started[found["outcome"]])
    if not facts.nvml["gpus"]:
        return not_applicable("there is no GPU to compute on")
    if found["outcome"] != "ran":
        return _did_not_run(facts, f"{found['outcome']}: {found['error']}")
    return _ran(facts)


def _ran(facts: Facts) -> Benchmark | Finding:
    found = facts.throughput
    try:
        benchmark = parse_benchmark(found["stdout"])
    except ParseError as error:
        return _did_not_run(facts, f"{error}\n{found['stderr']}".strip())
    return _computed(facts, benchmark)


def _computed(facts: Facts, benchmark: Benchmark) -> Benchmark | Finding:
    image = facts.throughput["image"]
    if benchmark.torch is None and benchmark.error.startswith(NOT_THERE):
        return not_applicable(f"{image} has no PyTorch ({benchmark.error})")
    if benchmark.torch is None:
        return failed(
            "PyTorch cannot be loaded",
            seen=benchmark.error,
            expected="import torch",
            cause="the image is broken, or a library of the driver that it needs is not in the "
            "container",
            remedy=facts.throughput["docker_run"],
        )
    if benchmark.cuda is None:
        return not_applicable(
            f"CUDA not exercised: PyTorch {benchmark.torch} in {image} is built without it; "
            f"{_on_cpu(benchmark.devices)}"
        )
    gpus = len(facts.nvml["gpus"])
    if not benchmark.available or len(benchmark.devices) != gpus:
        usable = len(benchmark.devices) if benchmark.available else 0
        return failed(
            f"PyTorch can use {usable} of {counted(gpus, 'GPU')}",
            seen=f"PyTorch {benchmark.torch} for CUDA {benchmark.cuda} finds {usable}"
            + (f"\n{facts.throughput['stderr'].strip()}" if facts.throughput["stderr"] else ""),
            expected=counted(gpus, "GPU"),
            cause="the driver is too old for the image's CUDA, a GPU is divided (MIG) or in a "
            "fabric that is not ready, or /dev/nvidia-uvm is missing in the container",
            remedy=facts.throughput["docker_run"],
        )
    return benchmark


def _on_cpu(devices: Sequence[Device]) -> str:
    if not devices or devices[0].images_per_s is None:
        return "nothing was computed"
    exact = "exactly" if devices[0].exact else "wrongly"
    return f"the CPU computed {exact}, {devices[0].images_per_s:g} images/s"


def _did_not_run(facts: Facts, words: str) -> Finding:
    cause, remedy = explain(words, facts.throughput["docker_run"])
    return undetermined(
        "the benchmark did not come to its end",
        seen=words,
        expected="images per second of every GPU",
        cause=cause,
        remedy=remedy,
    )


@check(
    "container.compute",
    "PyTorch computes correctly on every GPU",
    needs=_NEEDS,
    suite=Suite.FULL,
    trials=("images",),
)
def compute(facts: Facts) -> Finding:
    """nvidia-smi shows GPUs that cannot compute: a CUDA that does not fit, a fabric that waits.

    Run the docker command that the report names. A GPU that computes wrongly has to be taken out
    of service: gpuhost_drained in the inventory, then its vendor's diagnosis (dcgmi diag -r 3).
    """
    found = _measured(facts)
    if isinstance(found, Finding):
        return found
    broken = [one for one in found.devices if one.error]
    if broken:
        words = "\n".join(f"GPU {one.index}: {one.error}" for one in broken)
        cause, remedy = explain(words, facts.throughput["docker_run"])
        return failed(
            f"{_named(broken)} did not compute",
            seen=words,
            expected="a matrix product and a training step on every GPU",
            cause=cause,
            remedy=remedy,
        )
    wrong = [one for one in found.devices if not one.exact]
    if wrong:
        return failed(
            f"{_named(wrong)} computed wrongly",
            seen=f"a product of whole numbers came out differently on {_named(wrong)}",
            expected="the same as on the CPU, to the last digit",
            cause="the GPU's memory or arithmetic is broken",
            remedy="dcgmi diag -r 3  # and take the host out of service: gpuhost_drained",
        )
    return passed(
        f"{counted(len(found.devices), 'GPU')} computed exactly, {_rates(found.devices, 'tflops')} "
        f"TFLOPS; PyTorch {found.torch} for CUDA {found.cuda}"
    )


@check(
    "container.throughput",
    "Training is as fast as it was",
    needs=_NEEDS,
    suite=Suite.FULL,
    trials=("images",),
)
def throughput(facts: Facts) -> Finding:
    """A GPU that is slow holds up all others of a training, and nothing else shows it.

    See the checks of the area speed on the same host: heat, power and links make GPUs slow. If
    the image or the driver changed on purpose, declare the new figure in the inventory.
    """
    found = _measured(facts)
    if isinstance(found, Finding):
        return found
    rates = {one.index: one.images_per_s for one in found.devices if one.images_per_s is not None}
    if len(rates) < len(found.devices):
        return not_applicable("container.compute says which GPU did not compute")
    share = 1 - facts.desired.images_per_s_tolerance / 100
    seen = f"{_rates(found.devices, 'images_per_s')} images/s in {facts.throughput['image']}"
    declared = facts.desired.images_per_s
    if declared and (behind := [n for n, rate in rates.items() if rate < declared * share]):
        return failed(
            f"{_gpus(behind)} trained slower than declared",
            seen=seen,
            expected=f"{declared * share:.0f} images/s or more ({VARIABLE}: {declared:g})",
            cause="heat, power, a narrow link, another program on the host, or another image",
            remedy=LOOK,
        )
    middle = median(rates.values())
    slow = [number for number, rate in rates.items() if rate < middle * share]
    if len(rates) >= SIBLINGS and slow:
        return warned(
            f"{_gpus(slow)} trained slower than its siblings",
            seen=seen,
            expected=f"{middle * share:.0f} images/s or more, as the others",
            cause="heat, power or a narrow link of this GPU",
            remedy=LOOK,
        )
    if declared:
        return passed(f"{seen}, {declared:g} are declared")
    return passed(f"{seen}; to hold it to that, declare {VARIABLE}: {min(rates.values()):.0f}")


def _named(devices: Sequence[Device]) -> str:
    return _gpus([one.index for one in devices])


def _gpus(indexes: Sequence[int]) -> str:
    return f"GPU {listed(indexes)}"


def _rates(devices: Sequence[Device], field: str) -> str:
    rates = [getattr(one, field) for one in devices]
    low, high = min(rates), max(rates)
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"
