"""ASCII armour of OpenPGP public keys (RFC 9580, section 6). No I/O."""

from __future__ import annotations

import base64
import binascii

BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
END = b"-----END PGP PUBLIC KEY BLOCK-----"


class ArmourError(ValueError):
    """Bytes that are neither an armoured nor a binary public key."""


def is_armoured(key: bytes) -> bool:
    """Whether ``key`` (bytes) is an armoured public key; a binary one has the first bit set."""
    return key[:1] < b"\x80" and BEGIN in key


def dearmour(key: bytes) -> bytes:
    """The binary form of a public key in either form."""
    if not is_armoured(key):
        return key
    begin = key.index(BEGIN) + len(BEGIN)
    end = key.find(END, begin)
    if end < 0:
        raise ArmourError("the armoured key has no end line")
    lines = [line.strip() for line in key[begin:end].splitlines()]
    # Header lines ("Version: …") end at the first empty line.
    first = lines.index(b"", 1) if any(b":" in line for line in lines) else 0
    body = b"".join(line for line in lines[first:] if not line.startswith(b"="))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ArmourError(f"the armoured key is damaged: {error}") from error


def enarmour(key: bytes) -> bytes:
    """The armoured form of a public key in either form."""
    binary = dearmour(key)
    body = base64.b64encode(binary).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    checksum = base64.b64encode(_crc24(binary).to_bytes(3, "big")).decode()
    text = "\n".join([BEGIN.decode(), "", *lines, f"={checksum}", END.decode(), ""])
    return text.encode()


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc
