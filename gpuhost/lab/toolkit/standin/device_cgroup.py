"""Opens device nodes to a container whose device cgroup runc has closed.

On cgroup v2 the device cgroup is a BPF program on the container's cgroup. Its verdict is final
(where there are several, all must allow), so it is replaced by one that first allows the new
devices and then goes on as the old one did.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SYS_BPF = {"x86_64": 321, "aarch64": 280}

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_GET_FD_BY_ID = 13
BPF_OBJ_GET_INFO_BY_FD = 15
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4

ATTRIBUTES_SIZE = 128
INFO_SIZE = 256
MAX_PROGRAMS = 64
INSTRUCTION_SIZE = 8

# Instructions of BPF, and where the context has what.
LOAD_WORD = 0x61
AND_IMMEDIATE = 0x57
JUMP_UNLESS_EQUAL = 0x55
MOVE_IMMEDIATE = 0xB7
EXIT = 0x95
CONTEXT, TYPE, MAJOR, MINOR = 1, 2, 4, 5
ACCESS_AND_TYPE_AT, MAJOR_AT, MINOR_AT = 0, 4, 8
TYPE_MASK = 0xFFFF
CHARACTER_DEVICE = 2

CGROUP_ROOT = Path("/sys/fs/cgroup")

_libc = ctypes.CDLL(None, use_errno=True)


class CgroupError(Exception):
    """The device cgroup could not be opened; the text says why."""


class Device(NamedTuple):
    """A character device."""

    major: int
    minor: int


class _Attached(NamedTuple):
    fd: int
    instructions: bytes


# --------------------------------------------------------------------------- the program


def _instruction(code: int, target: int, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | target, offset, value)


def allowing(devices: Sequence[Device], program: bytes) -> bytes:
    """A program that allows ``devices`` and leaves every other access to ``program``."""
    rules = b"".join(
        _instruction(JUMP_UNLESS_EQUAL, MAJOR, offset=3, value=device.major)
        + _instruction(JUMP_UNLESS_EQUAL, MINOR, offset=2, value=device.minor)
        + _instruction(MOVE_IMMEDIATE, 0, value=1)
        + _instruction(EXIT, 0)
        for device in devices
    )
    loads = _instruction(LOAD_WORD, MAJOR, CONTEXT, MAJOR_AT) + _instruction(
        LOAD_WORD, MINOR, CONTEXT, MINOR_AT
    )
    past_rules = (len(loads) + len(rules)) // INSTRUCTION_SIZE
    return (
        _instruction(LOAD_WORD, TYPE, CONTEXT, ACCESS_AND_TYPE_AT)
        + _instruction(AND_IMMEDIATE, TYPE, value=TYPE_MASK)
        + _instruction(JUMP_UNLESS_EQUAL, TYPE, offset=past_rules, value=CHARACTER_DEVICE)
        + loads
        + rules
        + program
    )


# ---------------------------------------------------------------------------- the kernel


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """One bpf(2) call: its result and the attributes as the kernel left them."""
    buffer = ctypes.create_string_buffer(attributes, ATTRIBUTES_SIZE)
    result = _libc.syscall(SYS_BPF[os.uname().machine], command, buffer, ATTRIBUTES_SIZE)
    if result < 0:
        raise CgroupError(f"bpf command {command}: {os.strerror(ctypes.get_errno()).lower()}")
    return int(result), buffer.raw


def _program_ids(cgroup: int) -> tuple[int, list[int]]:
    """Attach flags and ids of the device programs on a cgroup."""
    ids = (ctypes.c_uint32 * MAX_PROGRAMS)()
    layout = "<IIIIQI"
    query = struct.pack(
        layout, cgroup, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), MAX_PROGRAMS
    )
    _, answer = _bpf(BPF_PROG_QUERY, query)
    _, _, _, flags, _, count = struct.unpack_from(layout, answer)
    return flags, list(ids[:count])


def _instructions(program: int) -> bytes:
    """The instructions of a loaded program."""
    info = ctypes.create_string_buffer(INFO_SIZE)
    attributes = struct.pack("<IIQ", program, INFO_SIZE, ctypes.addressof(info))
    _bpf(BPF_OBJ_GET_INFO_BY_FD, attributes)
    (size,) = struct.unpack_from("<I", info, 20)
    code = ctypes.create_string_buffer(size)
    again = struct.pack("<16xIIQQ", 0, size, 0, ctypes.addressof(code))
    ctypes.memmove(info, again.ljust(INFO_SIZE, b"\0"), INFO_SIZE)
    _bpf(BPF_OBJ_GET_INFO_BY_FD, attributes)
    if not any(code.raw):
        raise CgroupError("the kernel does not show the device program of the container's cgroup")
    return code.raw


def _load(instructions: bytes) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_text = ctypes.create_string_buffer(b"Apache")
    fd, _ = _bpf(
        BPF_PROG_LOAD,
        struct.pack(
            "<IIQQ",
            BPF_PROG_TYPE_CGROUP_DEVICE,
            len(instructions) // INSTRUCTION_SIZE,
            ctypes.addressof(code),
            ctypes.addressof(license_text),
        ),
    )
    return fd


def _attached_programs(ids: Sequence[int]) -> Iterator[_Attached]:
    for program_id in ids:
        fd, _ = _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("<I", program_id))
        yield _Attached(fd, _instructions(fd))


def open_devices(pid: int, devices: Sequence[Device]) -> None:
    """Let the container that process ``pid`` is in use these character devices.

    Raises:
        CgroupError: the host has no cgroup v2, or the kernel refused.
    """
    if not devices:
        return
    cgroup = os.open(cgroup_of(pid), os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags, ids = _program_ids(cgroup)
        replaces = bool(flags & BPF_F_ALLOW_MULTI)
        for old in _attached_programs(ids):
            new = _load(allowing(devices, old.instructions))
            attach_flags = flags | BPF_F_REPLACE if replaces else flags
            replaced = old.fd if replaces else 0
            _bpf(
                BPF_PROG_ATTACH,
                struct.pack("<IIIII", cgroup, new, BPF_CGROUP_DEVICE, attach_flags, replaced),
            )
            os.close(old.fd)
            os.close(new)
    finally:
        os.close(cgroup)


def cgroup_of(pid: int) -> Path:
    """The folder of a process's cgroup; CgroupError if it has none of version 2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0" and not controllers:
            return CGROUP_ROOT / path.lstrip("/")
    raise CgroupError("no cgroupv2 entries in file")
