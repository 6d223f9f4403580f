"""Which images gpuhost brought to this host: the record that its probe keeps, too.

One JSON object a line: ``id``, ``reference``, ``at`` (when it was brought, RFC 3339) and
``tagged``, when docker last named the image: never, for one that was pulled. An image that
somebody built or named since is no longer gpuhost's alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = Path("/var/lib/gpuhost/images.jsonl")
UNNAMED = "<none>"
FIELDS = ("id", "reference", "at", "tagged")


@dataclass(frozen=True)
class Brought:
    """An image that gpuhost brought and that is still here.

    ``kept`` says why it is not to be removed; ``tagged`` is when docker named it.
    """

    id: str
    reference: str
    size_bytes: int
    at: str
    kept: str = ""


def entries(record: Path) -> list[dict[str, str]]:
    """What is on record; lines that were cut short are none."""
    try:
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = {}
    for line in lines:
        try:
            entry = json.loads(line)
            found[entry["id"]] = {key: str(entry[key]) for key in FIELDS}
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def note(record: Path, images: Mapping[str, Mapping[str, Any]]) -> None:
    """Put on record images, as ``docker image inspect`` shows them, by the names they came by."""
    record.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with record.open("a", encoding="utf-8") as stream:
        for reference, image in images.items():
            entry = {"id": image["Id"], "reference": reference, "at": at, "tagged": _tagged(image)}
            stream.write(json.dumps(entry) + "\n")


def still_here(
    recorded: Sequence[Mapping[str, str]],
    images: Mapping[str, Mapping[str, Any]],
    used_by: Mapping[str, Sequence[str]],
) -> list[Brought]:
    """What of the record is on the host: ``images`` and users (containers) by the images' ids."""
    found = []
    for entry in recorded:
        image = images.get(entry["id"])
        if image is not None:
            found.append(
                Brought(
                    id=entry["id"],
                    reference=_name(entry, image),
                    size_bytes=int(image["Size"]),
                    at=entry["at"],
                    kept=_kept(entry, image, used_by.get(entry["id"], ())),
                )
            )
    return found


def _name(entry: Mapping[str, str], image: Mapping[str, Any]) -> str:
    """The name that it was brought under; its id where another image has taken that."""
    return entry["reference"] if _names(image) else entry["id"]


def _kept(entry: Mapping[str, str], image: Mapping[str, Any], users: Sequence[str]) -> str:
    if users:
        return f"in use by {', '.join(users)}"
    others = sorted(name for name in _names(image) if not _same(name, entry["reference"]))
    if others:
        return f"somebody named it {', '.join(others)}"
    if _tagged(image) != entry["tagged"]:
        return "somebody built or named it since"
    return ""


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or () if UNNAMED not in name]


def _same(name: str, reference: str) -> bool:
    """Whether docker's short name is this reference: it drops docker.io and adds :latest."""
    for prefix in ("docker.io/", "library/"):
        reference = reference.removeprefix(prefix)
        name = name.removeprefix(prefix)
    return name in (reference, f"{reference}:latest")


def _tagged(image: Mapping[str, Any]) -> str:
    return str((image.get("Metadata") or {}).get("LastTagTime", ""))
