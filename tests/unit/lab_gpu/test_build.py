"""What is compiled for the lab: loads anywhere, and says what its readers look for."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab.gpu import build

pytestmark = pytest.mark.usefixtures("unversioned")

NEW_SYMBOL = "int brand_new_function(void) { return 1; }\n"
VERSION_SCRIPT = "GLIBC_2.99 { global: brand_new_function; };\n"
USER = "int brand_new_function(void);\nint use(void) { return brand_new_function(); }\n"


def dynamic(library: Path) -> str:
    return subprocess.run(
        ["readelf", "-d", library], capture_output=True, text=True, check=True
    ).stdout


def test_the_management_library_needs_nothing_newer_than_glibc_2_17(unversioned: Path) -> None:
    listing = subprocess.run(
        ["nm", "-D", unversioned], capture_output=True, text=True, check=True
    ).stdout
    needed = {tuple(map(int, v)) for v in re.findall(r"GLIBC_(\d+)\.(\d+)", listing)}
    assert needed
    assert max(needed) <= (2, 17)


def test_a_library_that_needs_a_newer_glibc_is_refused(tmp_path: Path) -> None:
    for name, text in {"new.c": NEW_SYMBOL, "map": VERSION_SCRIPT, "use.c": USER}.items():
        (tmp_path / name).write_text(text)
    shared = ["gcc", "-shared", "-fPIC", "-o"]
    script = "-Wl,--version-script=map"
    subprocess.run([*shared, "libnew.so", "new.c", script], cwd=tmp_path, check=True)
    subprocess.run([*shared, "libuse.so", "use.c", "./libnew.so"], cwd=tmp_path, check=True)
    with pytest.raises(LabError, match=r"brand_new_function@GLIBC_2\.99"):
        build.check_portable(tmp_path / "libuse.so")


def test_the_libraries_have_the_names_that_programs_ask_for(
    unversioned: Path, tmp_path: Path
) -> None:
    assert "[libnvidia-ml.so.1]" in dynamic(unversioned)
    assert "[libcuda.so.1]" in dynamic(build.cuda_library(tmp_path / "libcuda.so"))
    empty = build.empty_library(tmp_path / "libnvidia-nvvm.so", "libnvidia-nvvm.so.4")
    assert "[libnvidia-nvvm.so.4]" in dynamic(empty)


def test_the_cuda_library_has_no_device_and_what_triton_takes_for_a_sign_of_life(
    tmp_path: Path,
) -> None:
    library = ctypes.CDLL(str(build.cuda_library(tmp_path / "libcuda.so")))
    words = ctypes.c_char_p()
    assert library.cuGetErrorString(library.cuInit(0), ctypes.byref(words)) == 0
    assert words.value == b"no CUDA-capable device is detected"
    assert library.cuPointerGetAttribute
    assert library.cuDevicePrimaryCtxGetState


def test_stamping_adds_the_version_behind_the_compiled_library(
    unversioned: Path, tmp_path: Path
) -> None:
    stamped = build.stamp_library(unversioned, tmp_path / "lib", "550.163.01", 12040)
    added = stamped.read_bytes().removeprefix(unversioned.read_bytes())
    assert added == b"\n#gpuhost-lab-library 550.163.01 12040\n"


def test_a_kernel_module_says_what_modinfo_is_asked_for(tmp_path: Path) -> None:
    module = build.kernel_module(
        tmp_path / "nvidia-uvm.ko",
        version="550.163.01",
        licence="Dual MIT/GPL",
        exports="uvm_interface",
        needs="nvidia_interface",
        depends="nvidia",
    )
    words = module.read_bytes().split(b"\0")
    assert b"name=nvidia_uvm" in words
    assert b"version=550.163.01" in words
    assert b"license=Dual MIT/GPL" in words
    assert b"depends=nvidia" in words


def test_the_persistence_daemon_is_a_client_of_the_management_library(
    unversioned: Path, tmp_path: Path
) -> None:
    daemon = build.persistence_daemon(tmp_path / "nvidia-persistenced", unversioned)
    assert "Shared library: [libnvidia-ml.so.1]" in dynamic(daemon)


def test_a_missing_compiler_is_named_with_the_package_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError) as raised:
        build.cuda_library(tmp_path / "libcuda.so")
    assert "gcc is not on this machine" in raised.value.message
    assert "apt-get install gcc" in raised.value.remedy
