"""Training on a real host: from an archive, a folder and a repository to what it leaves."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import Lab, Ran
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SMALL = ("train_data=1024", "epochs=2")
OUTPUTS = "/var/lib/gpuhost/outputs"


@pytest.fixture(scope="module")
def image(lab: Lab, provisioned: str) -> Iterator[str]:
    """The name of an image with PyTorch; what the tests started is gone in the end."""
    yield lab.ok("lab", "image", "pytorch").stdout.split()[4].rstrip(".")
    lab.ok("workload", "rm", provisioned, "training")


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def train(lab: Lab, host: str, image: str, *values: str, gpus: str = "1") -> Ran:
    words = ("workload", "run", host, "training", "--quiet", "--gpus", gpus)
    return lab.run(*words, *sets(f"image={image}", *values))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's own reader finds in a folder of event files."""
    found = EventAccumulator(str(folder))
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


def test_outputs_come_back_to_who_may_not_read_them_on_the_host(
    lab: Lab, provisioned: str, tmp_path: Path
) -> None:
    make = f"umask 077; mkdir -p {OUTPUTS}/x/a && cd {OUTPUTS}/x && head -c 3000000 /dev/urandom"
    lab.exec(provisioned, ["sh", "-c", f"{make} > last.pt && echo secret > a/log && ln -s /etc e"])
    hashed = lab.exec(provisioned, ["sha256sum", f"{OUTPUTS}/x/last.pt"]).split()[0]
    words = ("workload", "fetch", provisioned, "training")
    there = ("--set", f"outputs={OUTPUTS}/x")
    listed = lab.ok(*words, *there, "--list", "--json").document
    assert listed["files"] == [["a/log", 7], ["last.pt", 3000000]]
    fetched = lab.ok(*words, str(tmp_path / "got"), *there)
    assert "2.9 MiB  last.pt" in fetched.stdout
    assert "e is no file" in fetched.stdout
    assert hashlib.sha256((tmp_path / "got/last.pt").read_bytes()).hexdigest() == hashed
    assert (tmp_path / "got/a/log").read_text() == "secret\n"
    (tmp_path / "got/a/log").write_text("mine")
    refused = lab.run(*words, str(tmp_path / "got"), *there)
    assert (refused.code, (tmp_path / "got/a/log").read_text()) == (1, "mine")
    assert "other files of these names: a/log" in refused.stderr
    again = lab.ok(*words, str(tmp_path / "got"), *there, "--overwrite", "--json").document
    assert again["brought"] == ["a/log"]
    assert lab.exec(provisioned, ["ls", "-A", "/var/lib/gpuhost/parcels"]) == ""


@pytest.mark.slow
def test_a_seeded_training_is_the_same_twice_and_goes_on_from_its_checkpoint(
    lab: Lab, provisioned: str, image: str, tmp_path: Path
) -> None:
    found = []
    for run in ("one", "two"):
        ran = train(lab, provisioned, image, *SMALL, f"outputs=/srv/runs/{run}")
        assert ran.code == 0, ran.stderr
        # The host's Compose file says where the outputs are.
        lab.ok("workload", "fetch", provisioned, "training", str(tmp_path / run))
        assert (tmp_path / run / "last.pt").stat().st_size > 10000
        (events,) = (tmp_path / run / "tensorboard").iterdir()
        found.append((ran.stdout, (tmp_path / run / "log.jsonl").read_text(), curves(events)))
    assert found[0] == found[1]
    losses = found[0][2]["val_loss"]
    assert [step for step, _ in losses] == [16, 32]
    assert losses[-1][1] < losses[0][1]
    more = (*SMALL, "outputs=/srv/runs/two", "pretrained=last.pt")
    ran = train(lab, provisioned, image, *more)
    assert ran.code == 0, ran.stderr
    assert "goes on from last.pt of epoch 2" in ran.stdout
    assert "checkpoint last.pt of epoch 4 loads" in ran.stdout
    lab.ok("workload", "fetch", provisioned, "training", str(tmp_path / "two"), "--overwrite")
    lines = (tmp_path / "two/log.jsonl").read_text().splitlines()
    steps = [entry["step"] for entry in map(json.loads, lines) if "val_loss" in entry]
    assert steps == [16, 32, 48, 64]


SCRIPT = """\
import greeting, pathlib, sys
print("said", greeting.WORD, *sys.argv[1:], sep="|")
pathlib.Path("/outputs/left").write_text(pathlib.Path("data/words.txt").read_text())
"""


def project(folder: Path, word: str) -> Path:
    """A user's project, with a package of its own in it that pip has to install."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/words.txt").write_text(word)
    (folder / "main.py").write_text(SCRIPT)
    (folder / "requirements.txt").write_text("./greeting-1.0-py3-none-any.whl\n")
    with zipfile.ZipFile(folder / "greeting-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("greeting.py", f"WORD = {word!r}\n")
        about = "greeting-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return folder


@pytest.mark.slow
def test_a_users_archive_and_folder_are_what_is_built_and_run(
    lab: Lab, provisioned: str, image: str, tmp_path: Path
) -> None:
    archive = tmp_path / "project.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(project(tmp_path / "a", "hello"), ".")
    own = ("script=main.py", "arguments=--name 'a b' --epochs ${epochs}", "outputs=/srv/own")
    ran = train(lab, provisioned, image, f"source={archive}", *own)
    assert ran.stdout == "said|hello|--name|a b|--epochs|4\n", ran.stderr
    sent = "/var/lib/gpuhost/workloads/training/context/source.tar"
    hashed = lab.exec(provisioned, ["sha256sum", sent]).split()[0]
    assert hashed == hashlib.sha256(archive.read_bytes()).hexdigest()
    ran = train(lab, provisioned, image, f"source={project(tmp_path / 'b', 'servus')}", *own)
    assert ran.stdout == "said|servus|--name|a b|--epochs|4\n", ran.stderr
    lab.ok("workload", "fetch", provisioned, "training", str(tmp_path / "got"))
    assert (tmp_path / "got/left").read_text() == "servus"
