"""The toolkit's stand-in in a real dockerd: what containers see, and what the kernel refuses them.

Everything is asked of docker itself, past gpuhost's probe and checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest
from support.lab import Lab

from gpuhost import lab as room
from gpuhost.lab.toolkit import faults
from gpuhost.lab.toolkit.standin import fault

IMAGE = "nvidia/cuda:13.0.3-base-ubuntu24.04"
PATHS = ("gpus", "runtime", "cdi")
UUID = re.compile(r"GPU-[0-9a-f-]{36}")
GPUS = 4


def options(path: str, ids: str) -> list[str]:
    """The options of ``docker run`` that ask for GPUs (``0,2`` or ``all``) on one request path."""
    if path == "gpus":
        return ["--gpus", ids if ids == "all" else f'"device={ids}"']
    if path == "runtime":
        return ["--runtime=nvidia", "--env", f"NVIDIA_VISIBLE_DEVICES={ids}"]
    return [word for name in ids.split(",") for word in ("--device", f"nvidia.com/gpu={name}")]


@dataclass(frozen=True)
class Docker:
    """The docker command of one host."""

    host: str

    def run(self, *words: str) -> CompletedProcess[str]:
        argv = ["docker", "run", "--rm", "--network=none", *words]
        return room.attempt(self.host, argv, timeout_s=120)

    def smi(self, *words: str) -> tuple[str, ...]:
        """The UUIDs that a container sees; it must run."""
        done = self.run(*words, IMAGE, "nvidia-smi", "-L")
        assert done.returncode == 0, done.stderr
        return tuple(UUID.findall(done.stdout))

    def refusal(self, *words: str) -> str:
        """What docker says of a container that must not start."""
        done = self.run(*words, IMAGE, "true")
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="module")
def docker(provisioned: str) -> Docker:
    room.execute(provisioned, ["docker", "pull", "--quiet", IMAGE], timeout_s=300)
    return Docker(provisioned)


@pytest.fixture(scope="module")
def uuids(docker: Docker) -> tuple[str, ...]:
    """The host's GPUs in their order."""
    found = UUID.findall(room.execute(docker.host, ["nvidia-smi", "-L"]))
    assert len(found) == GPUS
    return tuple(found)


# ------------------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("path", PATHS)
def test_a_container_sees_exactly_the_gpus_asked_for(
    docker: Docker, uuids: tuple[str, ...], path: str
) -> None:
    assert docker.smi(*options(path, "all")) == uuids
    assert docker.smi(*options(path, "2")) == (uuids[2],)
    assert docker.smi(*options(path, f"0,{uuids[3]}")) == (uuids[0], uuids[3])


@pytest.mark.parametrize("path", PATHS)
def test_a_user_without_rights_in_a_read_only_container_sees_its_gpu(
    docker: Docker, uuids: tuple[str, ...], path: str
) -> None:
    hardened = ["--read-only", "--user=1000:1000", "--cap-drop=ALL"]

    assert docker.smi(*hardened, *options(path, "1")) == (uuids[1],)


@pytest.mark.parametrize("path", PATHS)
def test_the_kernel_refuses_a_gpu_that_was_not_asked_for(docker: Docker, path: str) -> None:
    # The container may make the node, as Docker's default rules let it, but not open it.
    script = "mknod /dev/nvidia3 c 195 3 && exec 3<>/dev/nvidia3"

    done = docker.run(*options(path, "0"), IMAGE, "bash", "-c", script)

    assert done.returncode != 0
    assert "/dev/nvidia3: Operation not permitted" in done.stderr


@pytest.mark.parametrize(
    ("path", "served_by"), [("gpus", "0"), ("runtime", "void"), ("cdi", "void")]
)
def test_the_environment_inside_tells_which_mechanism_served(
    docker: Docker, path: str, served_by: str
) -> None:
    done = docker.run(*options(path, "0"), IMAGE, "printenv", "NVIDIA_VISIBLE_DEVICES")

    assert done.stdout.strip() == served_by


def test_none_gives_the_driver_without_a_gpu(docker: Docker) -> None:
    assert docker.smi(*options("runtime", "none")) == ()


def test_a_container_that_asks_for_nothing_gets_nothing(docker: Docker) -> None:
    for how in ([], options("runtime", "void")):
        done = docker.run(*how, IMAGE, "sh", "-c", "ls /dev")
        assert "nvidia" not in done.stdout


def test_with_the_nvidia_runtime_the_hook_of_gpus_makes_way(
    docker: Docker, uuids: tuple[str, ...]
) -> None:
    assert docker.smi("--runtime=nvidia", *options("gpus", "2")) == (uuids[2],)


# ----------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gpus", "nvidia-container-cli: device error: 9: unknown device"),
        ("runtime", "failed to get device handle from index: Invalid Argument"),
        ("cdi", "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=9"),
    ],
)
def test_an_index_that_does_not_exist_is_refused_in_upstreams_words(
    docker: Docker, path: str, words: str
) -> None:
    assert words in docker.refusal(*options(path, "9"))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gpus", "device error: GPU-00000000-0000-0000-0000-000000000000: unknown device"),
        ("runtime", "failed to get device handle from UUID: Not Found"),
        ("cdi", "unresolvable CDI devices nvidia.com/gpu=GPU-00000000-"),
    ],
)
def test_a_uuid_that_does_not_exist_is_refused_in_upstreams_words(
    docker: Docker, path: str, words: str
) -> None:
    bad = "GPU-00000000-0000-0000-0000-000000000000"

    assert words in docker.refusal(*options(path, bad))


def test_a_requirement_of_the_image_is_held_against_the_driver_by_the_hook_only(
    docker: Docker, uuids: tuple[str, ...]
) -> None:
    requirement = ["--env", "NVIDIA_REQUIRE_CUDA=cuda>=99.0"]

    refusal = docker.refusal(*requirement, *options("gpus", "0"))

    assert "requirement error: unsatisfied condition: cuda>=99.0, please update" in refusal
    assert docker.smi(*requirement, *options("runtime", "0")) == (uuids[0],)


# ---------------------------------------------------------------- what systemd does to a scope


def test_a_container_of_the_hook_loses_its_gpu_when_systemd_sets_its_scope_up_anew(
    docker: Docker,
) -> None:
    name = "held-open"
    docker.run("--detach", "--name", name, *options("gpus", "0"), IMAGE, "sleep", "300")
    try:
        inspect = ["docker", "inspect", "--format={{.Id}}", name]
        scope = f"docker-{room.execute(docker.host, inspect).strip()}.scope"
        room.execute(docker.host, ["systemctl", "set-property", "--runtime", scope, "CPUWeight=50"])
        seen = room.attempt(docker.host, ["docker", "exec", name, "nvidia-smi", "-L"])
    finally:
        room.execute(docker.host, ["docker", "rm", "--force", name])

    assert "Failed to initialize NVML: Unknown Error" in seen.stdout


# ------------------------------------------------------------------------------- misbehaviour


@pytest.fixture
def misbehaving(lab: Lab, docker: Docker, request: pytest.FixtureRequest) -> Iterator[None]:
    misbehaviour = faults.Misbehaviour(request.param)
    misbehaviour.inject(lab.exec, docker.host)
    yield
    misbehaviour.clear(lab.exec, docker.host)


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("misbehaving", [fault.LEAK_ONE], indirect=True)
def test_a_leaking_toolkit_hands_out_one_gpu_too_many(
    docker: Docker, uuids: tuple[str, ...], path: str
) -> None:
    assert docker.smi(*options(path, "2")) == (uuids[0], uuids[2])


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("misbehaving", [fault.SWAP], indirect=True)
def test_a_swapping_toolkit_hands_out_the_wrong_gpu(
    docker: Docker, uuids: tuple[str, ...], path: str
) -> None:
    assert docker.smi(*options(path, "2")) == (uuids[3],)


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("misbehaving", [fault.ALL_FOR_BAD_INDEX], indirect=True)
def test_a_toolkit_that_takes_any_index_refuses_none(
    docker: Docker, uuids: tuple[str, ...], path: str
) -> None:
    assert docker.smi(*options(path, "9")) == uuids


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("misbehaving", [fault.IGNORE_NONE], indirect=True)
def test_a_toolkit_that_ignores_none_hands_out_every_gpu(
    docker: Docker, uuids: tuple[str, ...]
) -> None:
    assert docker.smi(*options("runtime", "none")) == uuids


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("misbehaving", [fault.STALE_CDI], indirect=True)
def test_a_stale_specification_names_files_and_lacks_gpus_of_now(docker: Docker) -> None:
    assert "no such file or directory" in docker.refusal(*options("cdi", "0"))
    assert "unresolvable CDI devices" in docker.refusal(*options("cdi", "3"))


def test_when_it_behaves_again_so_does_every_path(docker: Docker, uuids: tuple[str, ...]) -> None:
    assert [docker.smi(*options(path, "3")) for path in PATHS] == [(uuids[3],)] * len(PATHS)
