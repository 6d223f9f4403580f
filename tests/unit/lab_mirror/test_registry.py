import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import daemon, images, registry
from gpuhost.lab.commands import run
from gpuhost.lab.registry import Registry

pytestmark = pytest.mark.skipif(
    not (shutil.which("docker-registry") and shutil.which("skopeo")),
    reason="docker-registry and skopeo are not on this machine",
)

ADDRESS = "127.0.0.1"
Skopeo = Callable[..., str]


class Room:
    """A cache with images of one file, a state folder and two ports."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.state = folder / "cache", folder / "state"
        self.port, self.token_port = daemon.free_port(ADDRESS), daemon.free_port(ADDRESS)

    def ensure(self) -> Registry:
        return registry.ensure(
            self.cache, self.state, ADDRESS, port=self.port, token_port=self.token_port
        )


def tiny_layers(_cache: Path, scratch: Path) -> tuple[images.Layer, images.Layer]:
    for name in ("base", "framework"):
        (scratch / name).mkdir()
        (scratch / name / name).write_text(name)
    base, framework = (images.layer(scratch / "layout", scratch / n) for n in ("base", "framework"))
    return base, framework


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    room = Room(tmp_path_factory.mktemp("registry"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "layers", tiny_layers)
        yield room
    registry.stop(room.state)


@pytest.fixture(scope="module")
def served(room: Room) -> Registry:
    return room.ensure()


@pytest.fixture
def inspect(room: Room, served: Registry, tmp_path: Path) -> Skopeo:
    """``skopeo inspect`` of an image, by someone who trusts the lab's authority."""
    shutil.copy(served.ca, tmp_path / "ca.crt")

    def inspect(name: str, *options: str) -> str:
        trust = ["--cert-dir", str(tmp_path), *options]
        return run(
            ["skopeo", "inspect", *trust, f"docker://{ADDRESS}:{room.port}/{name}"],
            purpose=f"Inspecting {name}",
        )

    return inspect


@pytest.mark.parametrize(
    "name", [n for image in images.IMAGES for n in image.names if "nvstaging" not in n]
)
def test_public_images_can_be_pulled_by_anyone(inspect: Skopeo, name: str) -> None:
    assert "NVIDIA_VISIBLE_DEVICES=all" in inspect(name)


def test_an_unknown_tag_is_manifest_unknown(inspect: Skopeo) -> None:
    with pytest.raises(LabError, match="manifest unknown"):
        inspect("nvidia/cuda:99.9.9-base-ubuntu24.04")


def test_an_unknown_repository_is_denied_as_by_the_real_ones(inspect: Skopeo) -> None:
    with pytest.raises(LabError, match="denied: requested access"):
        inspect("nvidia/no-such-image:1")


def test_a_restricted_namespace_is_denied_to_anyone(inspect: Skopeo) -> None:
    with pytest.raises(LabError, match="unauthorized: authentication required"):
        inspect("nvstaging/pytorch:24.04-py3")


def test_the_account_opens_the_restricted_namespace(inspect: Skopeo, served: Registry) -> None:
    assert "PYTORCH" in inspect("nvstaging/pytorch:24.04-py3", "--creds", ":".join(served.account))


def test_a_wrong_password_is_refused_also_for_public_images(inspect: Skopeo) -> None:
    with pytest.raises(LabError, match="incorrect username or password"):
        inspect("nvidia/cuda:12.4.1-base-ubuntu22.04", "--creds", "$oauthtoken:wrong")


def test_without_the_labs_authority_nothing_is_trusted(room: Room, served: Registry) -> None:
    image = f"docker://{served.address}:{room.port}/nvidia/cuda:12.4.1-base-ubuntu22.04"
    with pytest.raises(LabError, match="x509: certificate"):
        run(["skopeo", "inspect", image], purpose="Inspecting")


def test_nothing_can_be_pushed(room: Room, served: Registry, tmp_path: Path) -> None:
    shutil.copy(served.ca, tmp_path / "ca.crt")
    base = f"docker://{ADDRESS}:{room.port}/nvidia/cuda"
    argv = ["skopeo", "--insecure-policy", "copy", "--src-cert-dir", str(tmp_path)]
    argv += ["--dest-cert-dir", str(tmp_path), "--dest-creds", ":".join(served.account)]
    with pytest.raises(LabError, match="denied"):
        run([*argv, f"{base}:12.4.1-base-ubuntu22.04", f"{base}:mine"], purpose="Pushing")


def test_starting_it_twice_changes_nothing(room: Room, served: Registry) -> None:
    before = [daemon.recorded(room.state, name) for name in ("registry", "registry-tokens")]
    assert room.ensure() == served
    assert [daemon.recorded(room.state, name) for name in ("registry", "registry-tokens")] == before


def test_secrets_are_their_owners_alone(room: Room, served: Registry) -> None:
    secret = served.account[1]
    readable = [
        path
        for folder in (room.cache, room.state)
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and secret in path.read_text("latin-1")
    ]
    assert readable == []
