"""The driver's packages, built around a stand-in for the nvidia-smi that Debian has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuhost.lab.gpu import models, packages

V = "550.163.01-1"


def smi_from_nowhere(_cache: Path, _driver: packages.Driver, folder: Path) -> Path:
    for name in ("usr/lib/nvidia/current/nvidia-smi", "usr/share/doc/nvidia-smi/copyright"):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text(name)
    return folder


@pytest.fixture(scope="module")
def built(unversioned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("dpkg-deb"):
        pytest.skip("needs dpkg-deb")
    folder = tmp_path_factory.mktemp("packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "_nvidia_smi", smi_from_nowhere)
        packages.build(folder / "cache", folder / "out", "debian")
    assert unversioned.exists()
    return folder / "out"


def control(built: Path, package: str, field: str, version: str = V) -> str:
    (deb,) = built.glob(f"{package}_{version}_*.deb")
    return subprocess.run(
        ["dpkg-deb", "--field", deb, field], capture_output=True, text=True, check=True
    ).stdout.strip()


def contents(built: Path, package: str, folder: Path) -> Path:
    (deb,) = built.glob(f"{package}_{V}_*.deb")
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    return folder


def test_every_driver_has_the_same_packages(built: Path) -> None:
    by_version: dict[str, set[str]] = {}
    for deb in built.glob("*nvidia*.deb"):
        name, version, _ = deb.name.split("_")
        if name == "nvidia-mig-manager":
            continue  # it has versions of its own
        # The fabric manager's name had the branch in it once.
        by_version.setdefault(version, set()).add(re.sub(r"-\d+$", "", name))
    assert set(by_version) == {driver.package_version for driver in packages.DRIVERS}
    assert len(set(map(frozenset, by_version.values()))) == 1


def test_building_again_builds_nothing(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_arguments: object) -> Path:
        raise AssertionError

    monkeypatch.setattr(packages, "_nvidia_smi", unexpected)
    again = packages.build(built.parent / "cache", built.parent / "again", "debian")
    assert {deb.name for deb in again} == {deb.name for deb in built.iterdir()}


def test_everything_that_the_meta_package_needs_is_there_in_the_very_version(built: Path) -> None:
    depends = control(built, "nvidia-driver-cuda", "Depends").replace("|", ",")
    for dependency in depends.split(","):
        name, version = dependency.strip().rstrip(")").split(" (= ")
        assert version == V
        assert list(built.glob(f"{name}_{V}_*.deb")), name


@pytest.mark.parametrize(
    ("package", "other"),
    [
        ("nvidia-kernel-open-dkms", "nvidia-kernel-dkms"),
        ("nvidia-kernel-dkms", "nvidia-kernel-open-dkms"),
    ],
)
def test_open_and_proprietary_modules_exclude_each_other(
    built: Path, package: str, other: str
) -> None:
    assert control(built, package, "Conflicts") == other


def test_a_library_that_the_host_rewrites_is_not_checked_by_dpkg(
    built: Path, tmp_path: Path
) -> None:
    tree = contents(built, "libnvidia-ml1", tmp_path / "tree")
    library = "usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    assert (tree / f"{library}.1").readlink() == Path("libnvidia-ml.so.550.163.01")
    assert (tree / f"{library}.550.163.01").is_file()
    assert (tree / "DEBIAN/md5sums").read_text() == ""


def test_the_headers_are_those_of_this_machines_kernel(built: Path) -> None:
    kernel = subprocess.run(["uname", "-r"], capture_output=True, text=True, check=True).stdout
    (deb,) = built.glob("linux-headers-*.deb")
    assert deb.name.startswith(f"linux-headers-{kernel.strip()}_")


def test_no_package_loads_a_module_when_it_is_installed(built: Path, tmp_path: Path) -> None:
    for number, deb in enumerate(built.glob("*.deb")):
        folder = tmp_path / str(number)
        subprocess.run(["dpkg-deb", "--control", deb, folder], check=True)
        script = folder / "postinst"
        assert not (script.exists() and "modprobe" in script.read_text())


@pytest.mark.parametrize(
    ("model", "branch"),
    [("A100", "550"), ("H100", "550"), ("V100", "550"), ("B200", "580"), ("GB300", "580")],
)
def test_a_host_is_given_a_branch_that_drives_its_gpus(model: str, branch: str) -> None:
    assert packages.branch_for(models.find(model)) == branch
