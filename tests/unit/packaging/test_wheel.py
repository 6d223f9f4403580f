"""The wheel holds everything that a checkout does: playbooks, the lab's sources, data files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked as pip would, beside the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=installed,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed), "HOME": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_an_installed_wheel_finds_its_own_playbooks(installed: Path) -> None:
    script = "from gpuhost.engine import playbooks_dir; print(playbooks_dir())"
    assert run(installed, "-c", script).strip() == str(installed / "gpuhost" / "playbooks")


def test_an_installed_wheel_reads_its_inventory_declarations(installed: Path) -> None:
    example = PROJECT / "inventories" / "example"
    listed = run(installed, "-m", "gpuhost", "hosts", "gpu-01", "-i", str(example))
    assert listed.startswith("gpu-01 ")


def test_every_file_of_the_package_and_the_playbooks_is_in_the_wheel(installed: Path) -> None:
    tracked = subprocess.run(
        ["git", "-C", PROJECT, "ls-files", "gpuhost", "playbooks"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not tracked:
        pytest.skip("this is not a git checkout")
    existing = [name for name in tracked if (PROJECT / name).exists()]
    places = [
        installed / (name if name.startswith("gpuhost/") else f"gpuhost/{name}")
        for name in existing
    ]
    assert [str(place) for place in places if not place.exists()] == []
