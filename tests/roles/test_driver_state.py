"""Reading a host's GPUs, kernel and driver from its files."""

import os
from pathlib import Path

import pytest
from support import roles

driver_state = roles.util("driver_state")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pci(root: Path, address: str, vendor: str, device: str, class_code: str) -> None:
    folder = f"sys/bus/pci/devices/{address}"
    write(
        root,
        {
            f"{folder}/vendor": f"{vendor}\n",
            f"{folder}/device": f"{device}\n",
            f"{folder}/class": f"{class_code}\n",
        },
    )


def test_gpus_are_found_by_vendor_and_class(tmp_path: Path) -> None:
    pci(tmp_path, "0000:47:00.0", "0x10de", "0x20b5", "0x030200")
    pci(tmp_path, "0000:07:00.0", "0x10de", "0x2684", "0x030000")
    pci(tmp_path, "0000:07:00.1", "0x10de", "0x22ba", "0x040300")  # its sound
    pci(tmp_path, "0000:c1:00.0", "0x10de", "0x1af1", "0x068000")  # NVSwitch
    pci(tmp_path, "0000:00:02.0", "0x8086", "0x9a60", "0x030000")  # another vendor's
    found = driver_state.gpus(tmp_path)
    assert [(gpu.address, gpu.device) for gpu in found] == [
        ("0000:07:00.0", 0x2684),
        ("0000:47:00.0", 0x20B5),
    ]


def test_nvswitches_are_told_from_gpus_and_from_others_bridges(tmp_path: Path) -> None:
    pci(tmp_path, "0000:c1:00.0", "0x10de", "0x22a3", "0x068000")
    pci(tmp_path, "0000:c0:00.0", "0x10de", "0x22a3", "0x068000")
    pci(tmp_path, "0000:47:00.0", "0x10de", "0x2330", "0x030200")
    pci(tmp_path, "0000:00:1f.0", "0x8086", "0x7a04", "0x068000")
    assert driver_state.nvswitches(tmp_path) == ["0000:c0:00.0", "0000:c1:00.0"]
    assert driver_state.nvswitches(tmp_path / "nothing") == []


OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.178.04  Release Build\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)
PROPRIETARY = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\n"
)


@pytest.mark.parametrize(
    ("banner", "version", "modules"),
    [(OPEN, "580.178.04", "open"), (PROPRIETARY, "550.163.01", "proprietary")],
)
def test_the_loaded_driver_is_read_from_its_banner(
    tmp_path: Path, banner: str, version: str, modules: str
) -> None:
    write(tmp_path, {"proc/driver/nvidia/version": banner})
    assert driver_state.loaded_version(tmp_path) == version
    assert driver_state.loaded_modules(tmp_path) == modules


def test_the_module_itself_says_its_version_first(tmp_path: Path) -> None:
    write(
        tmp_path, {"proc/driver/nvidia/version": OPEN, "sys/module/nvidia/version": "580.65.06\n"}
    )
    assert driver_state.loaded_version(tmp_path) == "580.65.06"


def test_no_driver_is_none(tmp_path: Path) -> None:
    assert driver_state.loaded_version(tmp_path) is None
    assert driver_state.loaded_modules(tmp_path) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False)]
)
def test_secure_boot_is_the_last_byte_of_its_variable(
    tmp_path: Path, value: bytes, expected: bool
) -> None:
    path = tmp_path / driver_state.SECURE_BOOT
    path.parent.mkdir(parents=True)
    path.write_bytes(value)
    assert driver_state.secure_boot(tmp_path) is expected


def test_a_host_without_uefi_says_nothing_of_secure_boot(tmp_path: Path) -> None:
    assert driver_state.secure_boot(tmp_path) is None


@pytest.mark.parametrize(
    ("words", "enrolled"),
    [("/x/mok.pub is already enrolled", True), ("/x/mok.pub is not enrolled", False)],
)
def test_mokutil_is_judged_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, enrolled: bool
) -> None:
    write(
        tmp_path,
        {"var/lib/dkms/mok.pub": "key", "bin/mokutil": f"#!/bin/sh\necho {words}\nexit 1\n"},
    )
    (tmp_path / "bin/mokutil").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert driver_state.signing_key_is_enrolled(tmp_path) is enrolled


def process(root: Path, pid: int, name: str, *links: str) -> None:
    write(root, {f"proc/{pid}/comm": f"{name}\n"})
    folder = root / "proc" / str(pid) / "fd"
    folder.mkdir()
    for number, target in enumerate(links):
        (folder / str(number)).symlink_to(target)


def test_who_has_a_gpu_open_is_a_user_but_for_nvidias_own_services(tmp_path: Path) -> None:
    process(tmp_path, 900, "python3", "/dev/null", "/dev/nvidia0")
    process(tmp_path, 1200, "trainer", "/dev/nvidia12")
    process(tmp_path, 800, "nvidia-persiste", "/dev/nvidia0")
    process(tmp_path, 700, "nvidia-smi-like", "/dev/nvidiactl")
    process(tmp_path, 600, "bash", "/dev/pts/0")
    assert driver_state.users_of_gpus(tmp_path) == ["900 python3", "1200 trainer"]


def test_headers_follow_the_meta_packages_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = """\
installed linux-image-6.1.0-37-amd64
installed linux-image-amd64
not-installed linux-image-rt-amd64
installed linux-image-generic-hwe-22.04
installed linux-image-unsigned-6.8.0-1-generic
installed linux-image-amd64-dbg"""
    monkeypatch.setattr(driver_state, "run", lambda *_: (0, listed))
    assert driver_state.headers_meta_packages() == [
        "linux-headers-amd64",
        "linux-headers-generic-hwe-22.04",
    ]


@pytest.mark.parametrize(("audit", "interrupted"), [("", False), ("half-configured: foo", True)])
def test_interrupted_package_operations_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audit: str, interrupted: bool
) -> None:
    (tmp_path / "var/lib/dpkg/updates").mkdir(parents=True)
    monkeypatch.setattr(driver_state, "run", lambda *_: (0, audit))
    assert driver_state.packages_were_interrupted(tmp_path) is interrupted
    write(tmp_path, {"var/lib/dpkg/updates/0001": ""})
    assert driver_state.packages_were_interrupted(tmp_path)


def test_a_host_without_dpkg_has_no_interrupted_operations(tmp_path: Path) -> None:
    assert not driver_state.packages_were_interrupted(tmp_path)


def test_the_operating_system_is_read_without_quotes(tmp_path: Path) -> None:
    write(tmp_path, {"etc/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\n# comment\n'})
    assert driver_state.os_release(tmp_path) == {"id": "ubuntu", "version_id": "24.04"}


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert driver_state.free_mib("/no/such/folder", tmp_path) > 0


def test_this_machine_can_be_read_as_it_is() -> None:
    state = driver_state.read()
    assert state["kernel"] == os.uname().release
    assert isinstance(state["gpus"], list)
