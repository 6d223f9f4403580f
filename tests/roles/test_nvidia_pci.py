"""Which kernel modules drive which GPU."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import roles

pci = roles.util("nvidia_pci")

PCI_IDS = Path("/usr/share/misc/pci.ids")
# The chip's code name begins with that of its generation.
CODE_NAMES = {
    "GK": {"Kepler or older"},
    "GM": {"Maxwell"},
    "GP": {"Pascal"},
    "GV": {"Volta"},
    "TU": {"Turing"},
    "GA": {"Ampere"},
    "AD": {"Ada Lovelace"},
    "GH": {"Hopper", "Grace Hopper"},
    "GB": {"Blackwell"},
}


def gpu(device: int) -> Any:
    return pci.Gpu("0000:17:00.0", device)


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (0x13C2, "Maxwell"),
        (0x15F8, "Pascal"),
        (0x1B38, "Pascal"),
        (0x1DB6, "Volta"),
        (0x1EB8, "Turing"),
        (0x20B0, "Ampere"),
        (0x20B2, "Ampere"),
        (0x20B5, "Ampere"),
        (0x20F1, "Ampere"),
        (0x2330, "Hopper"),
        (0x2331, "Hopper"),
        (0x2335, "Hopper"),
        (0x2342, "Grace Hopper"),
        (0x26B9, "Ada Lovelace"),
        (0x2901, "Blackwell"),
        (0x2941, "Blackwell"),
        (0x2BB1, "Blackwell"),
        (0x2BB5, "Blackwell"),
        (0x3182, "Blackwell"),
        (0x31C2, "Blackwell"),
    ],
)
def test_known_gpus_have_their_generation(device: int, name: str) -> None:
    assert pci.generation(device).name == name


def test_recorded_machines_have_the_generation_that_their_driver_reports(captures: Path) -> None:
    seen = set()
    for path in sorted((captures / "hardware").glob("qx-*.xml")):
        for element in ET.parse(path).iter("gpu"):
            device = int((element.findtext("pci/pci_device_id") or "").removeprefix("0x")[:4], 16)
            architecture = element.findtext("product_architecture")
            assert pci.generation(device).name == architecture, f"{path.name}: {device:04x}"
            seen.add(architecture)
    assert len(seen) >= 5


@pytest.mark.skipif(not PCI_IDS.exists(), reason="the package pci.ids is not installed")
def test_the_pci_id_repository_agrees() -> None:
    nvidia = PCI_IDS.read_text(errors="replace").split("\n10de ", 1)[1]
    nvidia = re.split(r"\n[0-9a-f]{4} ", nvidia, maxsplit=1)[0]
    checked = 0
    for device, chip in re.findall(r"\n\t([0-9a-f]{4})  (G[KMPVAHB]|TU|AD)\d[^\n]*", nvidia):
        line = re.search(rf"\n\t{device}  ([^\n]*)", nvidia)
        assert line is not None
        # The functions for sound, USB and switches on the same board are no GPUs.
        if re.search(r"Audio|USB|UCSI|NVSwitch|Serial", line[1]) or int(device, 16) < 0x1340:
            continue
        assert pci.generation(int(device, 16)).name in CODE_NAMES[chip], line[0]
        checked += 1
    assert checked > 200


@pytest.mark.parametrize(
    ("device", "branch", "wanted", "expected"),
    [
        (0x1DB6, 580, "auto", "proprietary"),
        (0x20B0, 580, "auto", "open"),
        (0x20B0, 580, "proprietary", "proprietary"),
        (0x20B0, 620, "auto", "open"),
        (0x2330, 535, "auto", "open"),
        (0x20B0, 470, "auto", "proprietary"),
        (0x2342, 580, "auto", "open"),
        (0x2901, 580, "auto", "open"),
        (0xFFFF, 620, "auto", "open"),
    ],
)
def test_modules_are_chosen_by_gpu_and_branch(
    device: int, branch: int, wanted: str, expected: str
) -> None:
    assert pci.choose_modules([gpu(device)], branch, wanted) == (expected, [])


@pytest.mark.parametrize(
    ("devices", "branch", "wanted", "words"),
    [
        ([0x1DB6], 595, "auto", "set nvidia_driver_branch to 580 or older"),
        ([0x1DB6], 580, "open", "set nvidia_driver_modules to auto or proprietary"),
        ([0x2901], 580, "proprietary", "set nvidia_driver_modules to auto or open"),
        ([0x2901], 550, "auto", "set nvidia_driver_branch to 570 or newer"),
        ([0x20B0], 620, "proprietary", "set nvidia_driver_modules to auto or open"),
        ([0x1DB6, 0x2901], 580, "auto", "different hosts"),
        ([0x102D], 580, "auto", "set nvidia_driver_branch to 470 or older"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(
    devices: list[int], branch: int, wanted: str, words: str
) -> None:
    modules, problems = pci.choose_modules([gpu(device) for device in devices], branch, wanted)
    assert modules is None
    assert len(problems) == 1
    assert words in problems[0].remedy


def test_a_volta_beside_an_ampere_gets_what_drives_both() -> None:
    assert pci.choose_modules([gpu(0x1DB6), gpu(0x20B0)], 580, "auto") == ("proprietary", [])


@given(
    devices=st.lists(st.integers(0x1340, 0x3200), min_size=1, max_size=4),
    branch=st.integers(470, 640),
    wanted=st.sampled_from(["auto", "open", "proprietary"]),
)
def test_the_chosen_modules_drive_every_gpu_or_a_reason_is_given(
    devices: list[int], branch: int, wanted: str
) -> None:
    gpus = [gpu(device) for device in devices]
    modules, problems = pci.choose_modules(gpus, branch, wanted)
    if problems:
        assert modules is None
    else:
        assert all(modules in each.generation.modules(branch) for each in gpus)
        assert wanted in ("auto", modules)
