"""Finding the driver's files, with libraries that a linker made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gpuhost.lab.toolkit.standin import elf
from gpuhost.lab.toolkit.standin.host import (
    DriverMissingError,
    capability_minors,
    device_node,
    driver_files,
    node_paths,
)
from gpuhost.lab.toolkit.standin.nvml import Gpu, Instance

VERSION = "550.163.01"
LIBRARY_DIR = "usr/lib/x86_64-linux-gnu"


def gpu(minor: int) -> Gpu:
    return Gpu(str(minor), f"GPU-{minor}", minor, "00000000:17:00.0", "NVIDIA A100", None, "8.0")


def link(path: Path, *options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = ["gcc", "-shared", "-nostdlib", *options, "-o", str(path), "-x", "c", os.devnull]
    subprocess.run(argv, check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, soname in (("libnvidia-ml", "libnvidia-ml.so.1"), ("libcuda", "libcuda.so.1")):
        link(tmp_path / LIBRARY_DIR / f"{name}.so.{VERSION}", f"-Wl,-soname,{soname}")
    link(tmp_path / LIBRARY_DIR / "libcuda.so.535.1", "-Wl,-soname,libcuda.so.1")
    (tmp_path / LIBRARY_DIR / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{VERSION}")
    for path in (
        "usr/bin/nvidia-smi",
        "usr/local/bin/nvidia-smi",
        f"lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin",
        f"lib/firmware/nvidia/{VERSION}/notes.txt",
        "run/nvidia-persistenced/socket",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_the_files_of_one_driver_version_are_found(root: Path) -> None:
    files = driver_files(root)

    assert files.version == VERSION
    assert [library.soname for library in files.libraries] == ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert files.cuda_library == f"/{LIBRARY_DIR}/libcuda.so.{VERSION}"
    assert files.library_dirs == (f"/{LIBRARY_DIR}",)
    assert files.firmware == (f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin",)
    assert files.sockets == ("/run/nvidia-persistenced/socket",)


def test_the_first_binary_in_the_path_is_taken(root: Path) -> None:
    assert driver_files(root).binaries == ("/usr/local/bin/nvidia-smi",)


def test_the_nodes_of_a_mig_device_are_found_by_the_drivers_list_of_rights(root: Path) -> None:
    listed = root / "proc/driver/nvidia-caps/mig-minors"
    listed.parent.mkdir(parents=True)
    listed.write_text("config 1\nmonitor 2\ngpu1/gi5/access 183\ngpu1/gi5/ci0/access 184\n")
    part = gpu(1)._replace(instance=Instance(5, 0))
    assert node_paths(part, capability_minors(root)) == [
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap183",
        "/dev/nvidia-caps/nvidia-cap184",
    ]
    assert node_paths(gpu(1), {}) == ["/dev/nvidia1"]
    assert capability_minors(root / "nowhere") == {}


def test_a_host_without_the_management_library_has_no_driver(tmp_path: Path) -> None:
    with pytest.raises(DriverMissingError):
        driver_files(tmp_path)


def test_a_library_without_a_soname_has_none(tmp_path: Path) -> None:
    link(tmp_path / "libplain.so")

    assert elf.soname(tmp_path / "libplain.so") is None


@pytest.mark.parametrize("content", [b"", b"text" * 100, b"\x7fELF\x01\x01" + bytes(200)])
def test_a_file_that_is_no_64_bit_library_has_no_soname(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "libx.so"
    path.write_bytes(content)

    assert elf.soname(path) is None


def test_text_behind_a_librarys_end_does_not_disturb(root: Path) -> None:
    path = root / LIBRARY_DIR / f"libcuda.so.{VERSION}"
    path.write_bytes(path.read_bytes() + b"\n#configuration\n")

    assert elf.soname(path) == "libcuda.so.1"


def test_only_character_devices_are_device_nodes(tmp_path: Path) -> None:
    node = device_node(os.devnull)

    assert node is not None
    assert (node.path, node.major, node.minor) == (os.devnull, 1, 3)
    assert device_node(str(tmp_path)) is None
    assert device_node(str(tmp_path / "missing")) is None
