"""Downloads that are checked, and that go on where they were interrupted."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from gpuhost.errors import MirrorError

TIMEOUT_S = 60
_CHUNK = 1 << 20
_PARTIAL = 206
_GONE = (404, 403)


def read(url: str, *, sha256: str = "", optional: bool = False) -> bytes:
    """A small file; where it is ``optional``, nothing if there is none.

    Raises MirrorError where it cannot be had or is not the one announced.
    """
    try:
        with _open(url) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError) as error:
        if optional and _is_missing(error):
            return b""
        raise _refused(url, error) from error
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise MirrorError(
            f"{url} is not what was announced: its SHA-256 is another.",
            "Try again later, or correct the checksum where it was declared by you.",
        )
    return content


def fetch(url: str, target: Path, size: int, sha256: str) -> bool:
    """Have ``target`` be the announced file; whether anything was downloaded.

    What an interrupted download left beside it is gone on from.
    """
    if _is_intact(target, size, sha256):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    for _attempt in range(2):
        have = part.stat().st_size if part.exists() else 0
        if have < size:
            _append(url, part, have)
        if _is_intact(part, size, sha256):
            part.replace(target)
            return True
        # What was there before may not have been the beginning of this file.
        part.unlink()
    raise MirrorError(
        f"{url} did not arrive as its repository announced it.", "Run the command again."
    )


def _append(url: str, part: Path, have: int) -> None:
    try:
        with _open(url, have) as answer:
            goes_on = have and getattr(answer, "status", None) == _PARTIAL
            with part.open("ab" if goes_on else "wb") as stream:
                while chunk := answer.read(_CHUNK):
                    stream.write(chunk)
    except (OSError, ValueError) as error:
        raise _refused(url, error) from error


def _open(url: str, start: int = 0) -> BinaryIO:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    answer: BinaryIO = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    return answer


def _is_missing(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _GONE
    return isinstance(error, urllib.error.URLError) and isinstance(error.reason, FileNotFoundError)


def _is_intact(path: Path, size: int, sha256: str) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _refused(url: str, error: Exception) -> MirrorError:
    return MirrorError(
        f"{url} cannot be downloaded: {error}.",
        "Check the URL and this machine's network and proxy (https_proxy). What was downloaded "
        "is kept: the same command goes on from there.",
    )
