"""The lab's large images: what they are called, and what becomes of Python's packages in them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gpuhost.errors import UsageError
from gpuhost.lab import add_image, images, large_builds, large_images, registry
from gpuhost.lab.large_images import LARGE_IMAGES, LargeImage


@pytest.mark.parametrize("large", LARGE_IMAGES.values(), ids=LARGE_IMAGES)
def test_a_large_image_is_served_under_the_name_that_it_is_pulled_by(large: LargeImage) -> None:
    host, _, rest = large.reference.partition("/")
    name = rest if host in registry.NAMES else large.reference
    assert name.partition(":")[0] in large_images.repositories()
    assert set(images.repositories()) <= set(large_images.repositories())


@pytest.mark.parametrize("large", LARGE_IMAGES.values(), ids=LARGE_IMAGES)
def test_the_files_of_a_large_image_are_there_and_its_wheels_pinned(large: LargeImage) -> None:
    assert all(file.is_file() for file in large.files.values())
    assert all("==" in wheel for wheel in large.wheels)
    assert not any(place.startswith("/") for place in (*large.files, *large.links, *large.writable))


def test_the_labs_backend_for_triton_has_what_triton_asks_of_one() -> None:
    tree = ast.parse((large_images.FILES / "onnxruntime_backend.py").read_text())
    (model,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    assert model.name == "TritonPythonModel"
    methods = {node.name for node in model.body if isinstance(node, ast.FunctionDef)}
    assert {"initialize", "execute"} <= methods


def test_a_large_image_that_is_misspelt_is_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean 'torchserve'"):
        add_image("torchserv")


def test_commands_of_pythons_packages_are_run_by_the_python_of_the_image(tmp_path: Path) -> None:
    made = tmp_path / large_images.PYTHON_FOLDER / "bin"
    made.mkdir(parents=True)
    (made / "torchserve").write_text("#!/home/somebody/venv/bin/python\nprint()\n")
    large_builds.place_programs(tmp_path)
    placed = tmp_path / "usr/local/bin/torchserve"
    assert placed.read_text() == "#!/usr/bin/python3\nprint()\n"
    assert placed.stat().st_mode & 0o111
    assert not made.exists()
