"""Training on a real host: from an archive, a folder and a repository to what it leaves."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import subprocess
import tarfile
import time
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
    for name in ("training", "training-git"):
        lab.ok("workload", "rm", provisioned, name)


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


@pytest.mark.slow
def test_what_cannot_be_used_starts_nothing(
    lab: Lab, provisioned: str, image: str, tmp_path: Path
) -> None:
    lab.ok("workload", "rm", provisioned, "training")
    (tmp_path / "s.tar.gz").write_bytes(os.urandom(5000))
    for source, words in (("s.tar.gz", "is broken"), ("none.tar", "no archive or folder")):
        ran = train(lab, provisioned, image, f"source={tmp_path / source}")
        assert (ran.code, words in ran.stderr) == (2, True), ran.stderr
    needs = project(tmp_path / "project", "x")
    (needs / "requirements.txt").write_text("./not-there-1.0-py3-none-any.whl\n")
    ran = train(lab, provisioned, image, f"source={needs}", "script=main.py")
    assert ran.code == 1
    assert "its image could not be built" in ran.stderr
    assert "not-there" in ran.stderr
    assert json.loads(lab.ok("workload", "ps", provisioned, "--json").stdout) == []


def copy(lab: Lab, host: str, folder: Path, target: str) -> None:
    packed = subprocess.run(["tar", "-C", folder, "-cf", "-", "."], check=True, capture_output=True)
    unpack = f"mkdir -p {target} && base64 -d | tar -C {target} -xf -"
    lab.exec(host, ["sh", "-c", unpack], stdin=base64.b64encode(packed.stdout).decode())


@pytest.mark.slow
def test_what_is_handed_over_runs_without_gpuhost(
    lab: Lab, provisioned: str, image: str, tmp_path: Path
) -> None:
    words = sets(f"image={image}", *SMALL, "outputs=/srv/handed")
    render = ("workload", "render", "training", "--gpus", "2")
    lab.ok(*render, *words, "--to", str(tmp_path / "given"))
    copy(lab, provisioned, tmp_path / "given", "/srv/given")
    compose = "cd /srv/given && docker compose config --quiet && docker compose up --build"
    by_compose = lab.exec(provisioned, ["sh", "-c", f"{compose} --no-log-prefix 2>/dev/null"])
    assert "converged: validation loss" in by_compose
    line = lab.ok(*render, *words, "--as", "docker-run").stdout
    by_docker = lab.exec(provisioned, ["sh", "-c", line])
    losses = [text for text in by_docker.splitlines() if "loss" in text]
    assert losses
    assert all(text in by_compose for text in losses)
    lab.exec(provisioned, ["sh", "-c", "cd /srv/given && docker compose down"])


SERVER = """\
import base64, functools, http.server
WANTED = "Basic " + base64.b64encode(b"ann:s3cret-t0ken").decode()
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == WANTED:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic realm=git")
        self.send_header("Content-Length", "0")
        self.end_headers()
handler = functools.partial(Handler, directory="/srv/git")
http.server.ThreadingHTTPServer(("127.0.0.1", 8123), handler).serve_forever()
"""
URL = "http://127.0.0.1:8123/repository.git"
# Says which GPUs it sees, and stays until it is let go.
WAITING = """\
import pathlib, subprocess, sys, time
print(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout)
while len(sys.argv) > 1 and not pathlib.Path("/workspace", sys.argv[1]).exists():
    time.sleep(0.2)
pathlib.Path("/nas/left").write_text("kept")
print("VERSION")
"""


class Repository:
    """A private repository, pushed to a host that serves it to itself."""

    def __init__(self, lab: Lab, host: str, folder: Path) -> None:
        self._lab, self._host, self._folder = lab, host, folder
        (folder / "work").mkdir()
        self._git("init", "--quiet", "--initial-branch", "main")

    def _git(self, *words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        argv = ["git", "-C", str(self._folder / "work"), *identity, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def push(self, version: str, *then: str) -> str:
        """Commit a version, do ``then`` with git, and serve what there is; the commit."""
        script = self._folder / "work/train.py"
        script.write_text(WAITING.replace("VERSION", version))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        if then:
            self._git(*then)
        bare = self._folder / f"bare-{version}"
        self._git("clone", "--quiet", "--mirror", ".", str(bare))
        self._git("--git-dir", str(bare), "update-server-info")
        self._lab.exec(self._host, ["rm", "-rf", "/srv/git/repository.git"])
        copy(self._lab, self._host, bare, "/srv/git/repository.git")
        return self._git("rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(
    lab: Lab, provisioned: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Repository]:
    """A private repository on the host, whose credentials it has in a file."""
    found = Repository(lab, provisioned, tmp_path_factory.mktemp("repository"))
    found.push("one", "tag", "v1")
    lab.exec(provisioned, ["sh", "-c", "cat > /srv/serve.py"], stdin=SERVER)
    credentials = "umask 077; mkdir -p /srv/nas /srv/space; cat > /root/credentials"
    secret = "http://ann:s3cret-t0ken@127.0.0.1:8123\n"
    lab.exec(provisioned, ["sh", "-c", credentials], stdin=secret)
    lab.exec(provisioned, ["systemd-run", "--unit=git-server", "python3", "/srv/serve.py"])
    yield found
    lab.exec(provisioned, ["systemctl", "stop", "git-server"])


def run_git(lab: Lab, host: str, image: str, *values: str, options: tuple[str, ...] = ()) -> Ran:
    # This machine may not let a container lock more memory than it can itself.
    given = (f"image={image}", f"repository={URL}", "memlock=65536", "nas=/srv/nas")
    words = ("workload", "run", host, "training-git", "--quiet", *options)
    return lab.run(*words, *sets(*given, "credentials=/root/credentials", *values))


@pytest.mark.slow
def test_a_repository_is_pulled_and_checked_out_at_start(
    lab: Lab, provisioned: str, image: str, repository: Repository
) -> None:
    first = run_git(lab, provisioned, image, options=("--gpus", "1"))
    assert first.code == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "one"
    commit = repository.push("two", "branch", "other")
    repository.push("three")
    for ref, version in (("HEAD", "three"), ("v1", "one"), ("other", "two"), (commit, "two")):
        ran = run_git(lab, provisioned, image, f"ref={ref}", options=("--gpus", "1"))
        assert ran.code == 0, ran.stderr
        assert ran.stdout.splitlines()[-1] == version
    lost = run_git(lab, provisioned, image, f"ref={'f' * 40}", options=("--gpus", "1"))
    assert lost.code == 1
    assert f"{URL} has no branch, tag or commit '{'f' * 40}'" in lost.stderr
    assert lab.exec(provisioned, ["cat", "/srv/nas/left"]) == "kept"


@pytest.mark.slow
@pytest.mark.usefixtures("repository")
def test_the_credentials_are_in_no_image_and_no_file_of_the_workload(
    lab: Lab, provisioned: str, image: str
) -> None:
    public = run_git(lab, provisioned, image, "credentials=/dev/null", options=("--gpus", "1"))
    # The image of an earlier run may be used again; what is pulled still asks.
    assert public.code == 1
    assert "could not read Username" in public.stderr
    assert run_git(lab, provisioned, image, options=("--gpus", "1")).code == 0
    save = "docker save gpuhost/training-git:local | tar -xO 2>/dev/null"
    search = "grep -c -a -e s3cret-t0ken || true"
    assert lab.exec(provisioned, ["sh", "-c", f"{save} | {search}"]).strip() == "0"
    layers = f"{save} >/dev/null; cd /var/lib/docker/overlay2 && grep -rl s3cret-t0ken . || true"
    assert lab.exec(provisioned, ["sh", "-c", layers]) == ""
    history = ["docker", "history", "--no-trunc", "gpuhost/training-git:local"]
    assert "s3cret" not in lab.exec(provisioned, history)
    files = ["grep", "-rc", "s3cret", "/var/lib/gpuhost/workloads/training-git/compose.yaml"]
    assert lab.exec(provisioned, ["sh", "-c", f"{shlex.join(files)} || true"]).strip() == "0"


def containers(lab: Lab, host: str) -> dict[str, str]:
    rows = json.loads(lab.ok("workload", "ps", host, "--json").stdout)
    return {row["workload"]: row["container"] for row in rows if row["status"].startswith("Up")}


def await_end(lab: Lab, host: str, name: str) -> None:
    end = time.monotonic() + 60
    while name in containers(lab, host):
        assert time.monotonic() < end, f"{name} does not end"


@pytest.mark.slow
@pytest.mark.usefixtures("repository")
def test_two_trainings_side_by_side_see_only_their_own_gpu(
    lab: Lab, provisioned: str, image: str
) -> None:
    lab.exec(provisioned, ["rm", "-f", "/srv/space/go"])
    waiting = ("workspace=/srv/space", "arguments=go")
    started = run_git(
        *(lab, provisioned, image, *waiting), options=("--gpus", "2", "--detach", "--json")
    )
    assert started.code == 0, started.stderr
    words = ("workload", "run", provisioned, "training", "--gpus", "0", "--detach", "--quiet")
    lab.ok(*words, *sets(f"image={image}", "epochs=1000", "outputs=/srv/long"))
    all_gpus = lab.exec(provisioned, ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"])
    there = containers(lab, provisioned)
    seen = {
        name: lab.exec(provisioned, ["docker", "exec", container, "nvidia-smi", "-L"])
        for name, container in there.items()
    }
    for name, index in (("training", 0), ("training-git", 2)):
        mine = [uuid for uuid in all_gpus.split() if uuid in seen[name]]
        assert mine == [all_gpus.split()[index]]
    inside = ["docker", "exec", there["training-git"], "sh", "-c"]
    limits = lab.exec(provisioned, [*inside, "ulimit -l -s; df -m /dev/shm; ls /sys/class/net"])
    assert "65536" in limits
    assert "1024" in limits
    assert "host0" in limits
    # A third finds the GPU that it asks for in use.
    refused = train(lab, provisioned, image, gpus="2")
    assert refused.code == 1
    assert "in use by container" in refused.stderr
    lab.exec(provisioned, ["touch", "/srv/space/go"])
    await_end(lab, provisioned, "training-git")
    assert "three" in lab.ok("workload", "logs", provisioned, "training-git").stdout
    lab.ok("workload", "stop", provisioned, "training")
    assert containers(lab, provisioned) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("repository")
def test_a_folder_of_the_host_that_is_missing_is_said(
    lab: Lab, provisioned: str, image: str
) -> None:
    ran = run_git(lab, provisioned, image, "workspace=/nowhere", options=("--gpus", "1"))
    assert ran.code == 1
    assert "/nowhere" in ran.stderr
    assert lab.exec(provisioned, ["sh", "-c", "test -e /nowhere || echo none"]) == "none\n"
