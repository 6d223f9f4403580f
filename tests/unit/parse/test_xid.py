from __future__ import annotations

import pytest

from gpuhost.parse.xid import KNOWN, Action, parse_xid


@pytest.mark.parametrize(
    ("line", "number", "device"),
    [
        (
            "NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', GPU has fallen off the bus.",
            79,
            "0000:17:00.0",
        ),
        ("NVRM: Xid (PCI:0000:C1:00): 31, pid=2345, name=python, Ch 00000008", 31, "0000:c1:00.0"),
        ("NVRM: Xid (0000:03:00): 13, Graphics Exception", 13, "0000:03:00.0"),
        ("NVRM: Xid (PCI:0000:17:00): 154, GPU recovery action changed from 0x0 (None)", 154, ""),
        ("[12.3] NVRM: Xid (PCI:0008:01:00): 119, pid=77, Timeout after 6s", 119, "0008:01:00.0"),
    ],
)
def test_an_xid_is_read_with_its_number_and_device(line: str, number: int, device: str) -> None:
    found = parse_xid(line)
    assert found is not None
    assert found.number == number
    assert found.device == device or not device
    assert found.text == line


def test_an_error_of_a_switch_is_told_from_one_of_a_gpu() -> None:
    fatal = parse_xid(
        "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 24007, Fatal, Link 44 sourcetrack"
    )
    harmless = parse_xid("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46")
    assert fatal is not None
    assert harmless is not None
    assert (fatal.is_switch, fatal.is_fatal, fatal.number) == (True, True, 24007)
    assert not harmless.is_fatal
    assert fatal.known is None


@pytest.mark.parametrize(
    "line", ["NVRM: loading NVIDIA UNIX Kernel Module", "Xid something", "", "usb 1-1: new device"]
)
def test_other_lines_name_none(line: str) -> None:
    assert parse_xid(line) is None


@pytest.mark.parametrize(
    ("action", "numbers"),
    [
        (Action.RESET, (48, 62, 95, 109, 119, 120, 136, 140, 143)),
        (Action.SUPPORT, (64,)),
        (Action.REBOOT, (79,)),
        (Action.LINK, (74, *range(144, 151))),
        (Action.RESTART_APPLICATION, (94,)),
        (Action.NONE, (63, 92)),
        (Action.READ, (154,)),
        (Action.APPLICATION, (13, 31, 43, 45)),
    ],
)
def test_each_number_asks_for_what_the_catalogue_says(
    action: Action, numbers: tuple[int, ...]
) -> None:
    assert {n for n, known in KNOWN.items() if known.action is action} == set(numbers)
