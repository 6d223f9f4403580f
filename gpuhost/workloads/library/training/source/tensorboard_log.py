"""Scalars for TensorBoard, for images that have no tensorboard package.

An event file is a sequence of records, each framed with its length and masked
CRC-32C checksums, and each a protocol buffer of TensorFlow's message Event.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import socket
import struct
import time

POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
VERSION = "brain.Event:2"
_NUMBER = itertools.count()


def _crc_row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_crc_row(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A checksum as it is stored: a checksum of data with checksums in it would be weak."""
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            *(length, struct.pack("<I", masked(crc32c(length)))),
            *(data, struct.pack("<I", masked(crc32c(data)))),
        )
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >> 7:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _float(field: int, number: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", number)


def scalar(tag: str, value: float, step: int, when: float) -> bytes:
    """An Event with a Summary of one value."""
    value_message = _bytes(1, tag.encode()) + _float(2, value)
    return _double(1, when) + _number(2, step) + _bytes(5, _bytes(1, value_message))


class SummaryWriter:
    """Of torch.utils.tensorboard's class of this name, as much as a training needs."""

    def __init__(self, log_dir: str) -> None:
        folder = pathlib.Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBER)}"
        self._file = (folder / f"events.out.tfevents.{name}").open("xb")
        self._file.write(record(_double(1, time.time()) + _bytes(3, VERSION.encode())))

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """One value of a curve."""
        self._file.write(record(scalar(tag, scalar_value, global_step, time.time())))

    def flush(self) -> None:
        """Let a TensorBoard that looks at the file see what was written."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()
