"""Workloads on a real host: a training that learns, on GPUs that are proven and free."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.lab import Lab

SMALL = ("--set", "train_data=1024", "--set", "epochs=2")


@pytest.fixture(scope="module")
def image(lab: Lab, provisioned: str) -> Iterator[str]:
    """The name of an image with PyTorch; what the tests started is gone in the end."""
    yield lab.ok("lab", "image", "pytorch").stdout.split()[4].rstrip(".")
    lab.ok("workload", "rm", provisioned, "training")


def losses(log: str) -> list[str]:
    return [line for line in log.splitlines() if "loss" in line]


@pytest.mark.slow
def test_a_training_learns_and_a_second_one_learns_the_same(
    lab: Lab, provisioned: str, image: str
) -> None:
    words = ("workload", "run", provisioned, "training", "--gpus", "1", "--set", f"image={image}")
    first = lab.ok(*words, *SMALL)
    assert "CUDA not exercised" in first.stdout
    assert "checkpoint last.pt of epoch 2 loads" in first.stdout
    second = lab.ok(*words, *SMALL)
    assert losses(first.stdout) == losses(second.stdout) != []
    kept = lab.exec(provisioned, ["cat", "/var/lib/gpuhost/outputs/training/log.jsonl"])
    # 1024 images in batches of 64, twice.
    assert [json.loads(line)["step"] for line in kept.splitlines()][-1] == 32
    (row,) = json.loads(lab.ok("workload", "ps", provisioned, "--json").stdout)
    assert row["workload"] == "training"


@pytest.mark.slow
def test_its_file_is_one_for_plain_docker_compose(lab: Lab, provisioned: str, image: str) -> None:
    rendered = lab.ok("workload", "render", "training", "--set", f"image={image}").stdout
    argv = ["docker", "compose", "--file", "-", "config", "--quiet"]
    assert lab.exec(provisioned, argv, stdin=rendered) == ""


@pytest.mark.slow
def test_gpus_that_are_in_use_or_not_there_are_refused_before_anything_starts(
    lab: Lab, provisioned: str, image: str
) -> None:
    holder = ["docker", "run", "--detach", "--gpus", "device=0", image, "sleep", "600"]
    identifier = lab.exec(provisioned, holder).strip()
    words = ("workload", "run", provisioned, "training", "--set", f"image={image}")
    try:
        busy = lab.run(*words, "--gpus", "0")
        assert (busy.code, identifier[:4] != "") == (1, True)
        assert "in use by container" in busy.stderr
        nowhere = lab.run(*words, "--gpus", "9")
        assert nowhere.code == 2
        assert "has no GPU '9'" in nowhere.stderr
    finally:
        lab.exec(provisioned, ["docker", "rm", "--force", identifier])


@pytest.mark.slow
def test_work_that_fails_shows_its_last_words(lab: Lab, provisioned: str, image: str) -> None:
    words = ("workload", "run", provisioned, "training", "--gpus", "0", "--set", f"image={image}")
    ran = lab.run(*words, "--set", "pretrained=no-such.pt")
    assert ran.code == 1
    assert "no-such.pt" in ran.stderr
    built = lab.run("workload", "run", provisioned, "training", "--set", "image=nowhere/none:1")
    assert built.code == 1
    assert "its image could not be built" in built.stderr
