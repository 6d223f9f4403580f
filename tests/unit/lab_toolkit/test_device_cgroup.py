"""The device cgroup's program, run here by a small interpreter of BPF."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.lab.toolkit.standin import device_cgroup
from gpuhost.lab.toolkit.standin.device_cgroup import Device, allowing

CHARACTER, BLOCK = 2, 1
READ_WRITE = 6
MAJOR, MINOR, TYPE, CONTEXT = 4, 5, 2, 1

# As runc ends its programs: every access is refused.
REFUSE = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
# Allows character devices of major number 1, as runc's rule for /dev/null and its kin.
ALLOW_MAJOR_1 = (
    struct.pack("<BBhi", 0x61, CONTEXT << 4 | 2, 0, 0)
    + struct.pack("<BBhi", 0x57, 2, 0, 0xFFFF)
    + struct.pack("<BBhi", 0x61, CONTEXT << 4 | 4, 4, 0)
    + struct.pack("<BBhi", 0x55, 2, 3, CHARACTER)
    + struct.pack("<BBhi", 0x55, 4, 2, 1)
    + struct.pack("<BBhi", 0xB7, 0, 0, 1)
    + struct.pack("<BBhi", 0x95, 0, 0, 0)
    + REFUSE
)


def verdict(program: bytes, kind: int, major: int, minor: int) -> int:
    """Run the program on one access; 1 lets it through."""
    context = struct.pack("<III", READ_WRITE << 16 | kind, major, minor)
    code = list(struct.iter_unpack("<BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        operation, operands, offset, value = code[at]
        target, source = operands & 15, operands >> 4
        at += 1
        if operation == 0x61:
            assert source == CONTEXT
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif operation == 0x57:
            registers[target] &= value
        elif operation == 0x55:
            at += offset if registers[target] != value else 0
        elif operation == 0xB7:
            registers[target] = value
        else:
            assert operation == 0x95
            return registers[0]


NUMBERS = st.integers(0, 600)
DEVICES = st.builds(Device, NUMBERS, NUMBERS)


@given(st.lists(DEVICES, min_size=1, max_size=8), DEVICES)
def test_exactly_the_new_devices_are_let_through(devices: list[Device], other: Device) -> None:
    program = allowing(devices, REFUSE)

    assert all(verdict(program, CHARACTER, *device) for device in devices)
    assert bool(verdict(program, CHARACTER, *other)) == (other in devices)
    assert not any(verdict(program, BLOCK, *device) for device in devices)


@given(st.lists(DEVICES, min_size=1, max_size=4), NUMBERS, NUMBERS)
def test_every_other_access_is_judged_as_before(
    devices: list[Device], major: int, minor: int
) -> None:
    program = allowing(devices, ALLOW_MAJOR_1)

    for kind in (CHARACTER, BLOCK):
        if kind == BLOCK or Device(major, minor) not in devices:
            before = verdict(ALLOW_MAJOR_1, kind, major, minor)
            assert verdict(program, kind, major, minor) == before
    assert verdict(program, CHARACTER, 1, 601) == 1


def test_two_containers_programs_nest() -> None:
    program = allowing([Device(195, 1)], allowing([Device(195, 0)], REFUSE))

    assert [verdict(program, CHARACTER, 195, minor) for minor in range(3)] == [1, 1, 0]


def test_the_cgroup_of_a_process_is_that_of_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "1:name=systemd:/x\n0::/system.slice/docker-abc.scope\n"
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_options: text)

    assert device_cgroup.cgroup_of(1) == Path("/sys/fs/cgroup/system.slice/docker-abc.scope")


def test_a_host_with_cgroup_version_1_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_options: "5:devices:/docker/abc\n")

    with pytest.raises(device_cgroup.CgroupError, match="no cgroupv2 entries"):
        device_cgroup.cgroup_of(1)
