"""The SONAME of a shared library, read from its dynamic section."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

PT_LOAD = 1
PT_DYNAMIC = 2
DT_STRTAB = 5
DT_SONAME = 14
HEADER_SIZE = 64
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
DYNAMIC_ENTRY = struct.Struct("<QQ")


def soname(path: Path) -> str | None:
    """The SONAME of a 64-bit little-endian ELF file; None if it has none or is another file."""
    data = path.read_bytes()
    if len(data) < HEADER_SIZE or data[:6] != b"\x7fELF\x02\x01":
        return None
    segments = list(_segments(data))
    for kind, offset, _, size in segments:
        if kind == PT_DYNAMIC:
            return _soname_of_dynamic(data, data[offset : offset + size], segments)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Kind, file offset, address and size in the file of each program header."""
    (start,) = struct.unpack_from("<Q", data, 32)
    entry_size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, _, offset, address, _, size, _, _ = PROGRAM_HEADER.unpack_from(
            data, start + number * entry_size
        )
        yield kind, offset, address, size


def _soname_of_dynamic(
    data: bytes, dynamic: bytes, segments: list[tuple[int, int, int, int]]
) -> str | None:
    whole = len(dynamic) - len(dynamic) % DYNAMIC_ENTRY.size
    tags: dict[int, int] = dict(DYNAMIC_ENTRY.iter_unpack(dynamic[:whole]))
    if DT_SONAME not in tags or DT_STRTAB not in tags:
        return None
    for kind, offset, address, size in segments:
        if kind == PT_LOAD and address <= tags[DT_STRTAB] < address + size:
            start = tags[DT_STRTAB] - address + offset + tags[DT_SONAME]
            return data[start : data.index(b"\0", start)].decode()
    return None
