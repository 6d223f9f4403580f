import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from gpuhost.lab import images
from gpuhost.lab.images import IMAGES, Image


def environment(image: Image) -> dict[str, str]:
    pairs = images.configuration(image, [])["config"]["Env"]
    return dict(pair.split("=", 1) for pair in pairs)


CUDA = [image for image in IMAGES if not image.framework]
FRAMEWORKS = [image for image in IMAGES if image.framework]


def named(reference: str) -> Image:
    wanted = reference.removeprefix("nvcr.io/")
    (image,) = (image for image in IMAGES if wanted in image.names)
    return image


@pytest.mark.parametrize("image", CUDA, ids=lambda image: image.names[0])
def test_cuda_images_are_tagged_with_their_version(image: Image) -> None:
    (name,) = image.names
    tag = re.fullmatch(r"nvidia/cuda:(\d+\.\d+\.\d+)-base-ubuntu\d\d\.04", name)
    assert tag
    assert environment(image)["CUDA_VERSION"] == tag[1]


@pytest.mark.parametrize("image", FRAMEWORKS, ids=lambda image: image.names[0])
def test_framework_images_name_release_and_framework(image: Image) -> None:
    seen = environment(image)
    assert image.names[0] == f"nvidia/pytorch:{seen['NVIDIA_PYTORCH_VERSION']}-py3"
    assert seen["PYTORCH_VERSION"]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.names[0])
def test_every_image_asks_for_all_gpus_by_itself(image: Image) -> None:
    seen = environment(image)
    assert seen["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert {"compute", "utility"} <= set(seen["NVIDIA_DRIVER_CAPABILITIES"].split(","))


def satisfied(requirement: str, cuda: tuple[int, int], driver: int) -> bool:
    """Whether a driver meets one of the alternatives, read as the toolkit reads them."""
    for alternative in requirement.split():
        conditions = [re.fullmatch(r"(\w+)(>=|<|=)(.+)", part) for part in alternative.split(",")]
        if all(c and _meets(c[1], c[2], c[3], cuda, driver) for c in conditions):
            return True
    return False


def _meets(fact: str, relation: str, value: str, cuda: tuple[int, int], driver: int) -> bool:
    if fact == "cuda":
        return cuda >= tuple(int(n) for n in value.split("."))
    if fact == "brand":
        return value == "nvidia"
    return driver >= int(value) if relation == ">=" else driver < int(value)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.names[0])
@pytest.mark.parametrize(("driver", "cuda"), [(535, (12, 2)), (550, (12, 4)), (580, (13, 0))])
def test_the_labs_drivers_meet_what_its_images_require(
    image: Image, driver: int, cuda: tuple[int, int]
) -> None:
    assert satisfied(environment(image)["NVIDIA_REQUIRE_CUDA"], cuda, driver)


def test_an_old_driver_does_not_fit_cuda_13() -> None:
    requirement = environment(named("nvidia/cuda:13.0.3-base-ubuntu24.04"))["NVIDIA_REQUIRE_CUDA"]
    assert not satisfied(requirement, (12, 0), 525)
    assert satisfied(requirement, (13, 0), 580)


def test_a_layout_holds_every_image_by_name_with_the_blobs_it_names(tmp_path: Path) -> None:
    for folder in ("base", "framework"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text(folder)
    layout = tmp_path / "layout"
    layout.mkdir()
    base, framework = (images.layer(layout, tmp_path / name) for name in ("base", "framework"))
    images.write_images(layout, images.IMAGES, (base, framework))
    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in manifests]
    assert names == [name for image in IMAGES for name in image.names]
    for manifest in manifests:
        document = json.loads(blob(layout, manifest))
        assert len(document["layers"]) == (2 if "pytorch" in str(manifest) else 1)
        configuration = json.loads(blob(layout, document["config"]))
        assert len(configuration["rootfs"]["diff_ids"]) == len(document["layers"])
        for layer in document["layers"]:
            blob(layout, layer)


def blob(layout: Path, descriptor: dict[str, object]) -> bytes:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    content = (layout / "blobs" / algorithm / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == descriptor["size"]
    return content


def test_the_same_tree_gives_the_same_layer(tmp_path: Path) -> None:
    made: list[images.Layer] = []
    for name in ("one", "two"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "folder/file").write_text("same")
        os.utime(tmp_path / name / "folder/file", (len(made), len(made)))
        made.append(images.layer(tmp_path, tmp_path / name))
    assert made[0] == made[1]


def entrypoint(*command: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "NVIDIA_PRODUCT_NAME": "PyTorch", "PYTORCH_VERSION": "2.3"}
    return subprocess.run(
        ["bash", images.ENTRYPOINT, *command], env=env, capture_output=True, text=True, check=False
    )


def test_the_entry_point_prints_a_banner_and_becomes_the_command() -> None:
    done = entrypoint("sh", "-c", "echo out; exit 7")
    assert done.returncode == 7
    assert "== PyTorch ==" in done.stdout
    assert done.stdout.endswith("\nout\n")


def test_the_entry_point_passes_words_on_as_they_are() -> None:
    assert entrypoint("printf", "%s|", "a b", "*").stdout.endswith("a b|*|")
