"""Models served on a host: TorchServe and Triton themselves, asked what they have to answer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import PROJECT, Lab

LIBRARY = PROJECT / "gpuhost/workloads/library"
# A host in a container cannot let memory be locked without bounds.
COMMON = ("--set", "hardware=cpu", "--set", "memlock=8388608")
PREDICTIONS = "the_model_s_examples_get_their_answers"
Words = tuple[str, ...]


@pytest.fixture
def torchserve(lab: Lab, provisioned: str) -> Iterator[Words]:
    """What TorchServe is started with; after it, nothing of any workload is left on the host."""
    lab.ok("lab", "image", "torchserve")
    yield (provisioned, "torchserve", *COMMON)
    assert lab.exec(provisioned, ["docker", "ps", "--all", "--quiet"]) == ""
    assert "torchserve" not in lab.exec(provisioned, ["ls", "/var/lib/gpuhost/workloads"])


@pytest.fixture
def triton(lab: Lab, provisioned: str) -> Words:
    """What Triton is started with."""
    reference = lab.ok("lab", "image", "triton").stdout.split()[4].rstrip(".")
    return (provisioned, "triton", *COMMON, "--set", f"version={reference.partition(':')[2]}")


def verdicts(lab: Lab, *words: str) -> tuple[int, dict[str, str], str]:
    """Exit code, verdicts by the last part of their names, and everything that was seen."""
    ran = lab.run("workload", "verify", *words, "--json", "--quiet")
    assert ran.stdout.startswith("{"), ran.stderr
    (host,) = ran.document["hosts"]
    seen = "\n".join(str(check.get("seen", "")) for check in host["checks"])
    return ran.code, {c["check"].split(".")[2]: c["verdict"] for c in host["checks"]}, seen


def own(tmp_path: Path, labels: str) -> Words:
    """Words that serve the model with other labels than it was trained for."""
    files = tmp_path / "model"
    shutil.copytree(LIBRARY / "torchserve/model_files", files)
    (files / "index_to_name.json").write_text(labels)
    return ("--set", f"model_files={files}")


@pytest.mark.slow
def test_torchserve_serves_from_an_archive_that_a_container_made(
    lab: Lab, torchserve: Words
) -> None:
    code, found, _ = verdicts(lab, *torchserve, "--gpus", "1")
    assert (code, set(found.values())) == (0, {"PASS"})
    assert {PREDICTIONS, "it_answers_a_ping_over_grpc", "keys_are_asked_for_as_declared"} <= {
        *found
    }


@pytest.mark.slow
def test_a_model_with_swapped_labels_is_found_out(
    lab: Lab, torchserve: Words, tmp_path: Path
) -> None:
    swapped = own(tmp_path, '{"0": "circle", "1": "cross", "2": "square"}')
    quickly = ("--gpus", "none", "--set", "disable_token_authorization=true")
    code, found, seen = verdicts(lab, *torchserve, *quickly, *swapped)
    assert code == 1
    assert [name for name, verdict in found.items() if verdict != "PASS"] == [PREDICTIONS]
    assert 'is to give {"label": "square"}, and gives {"label": "cross"' in seen


@pytest.mark.slow
def test_an_archive_that_is_broken_is_named(lab: Lab, torchserve: Words, provisioned: str) -> None:
    store = "/var/lib/broken-store"
    lab.exec(provisioned, ["mkdir", "-p", store])
    lab.exec(provisioned, ["tee", f"{store}/shapes.mar"], stdin="no archive")
    there = ("--gpus", "none", "--set", "archive=false", "--set", f"model_store={store}")
    code, found, seen = verdicts(lab, *torchserve, *there)
    assert (code, found["starts"]) == (1, "FAIL")
    assert "shapes.mar is broken: File is not a zip file" in seen


@pytest.mark.slow
def test_triton_serves_from_a_repository_that_a_container_made(lab: Lab, triton: Words) -> None:
    code, found, _ = verdicts(lab, *triton, "--gpus", "0")
    assert (code, set(found.values())) == (0, {"PASS"})
    assert PREDICTIONS in found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchserve", "triton"])
def test_its_file_is_one_for_plain_docker_compose(lab: Lab, provisioned: str, name: str) -> None:
    rendered = lab.ok("workload", "render", name).stdout
    argv = ["docker", "compose", "--file", "-", "config", "--quiet"]
    assert lab.exec(provisioned, argv, stdin=rendered) == ""
