"""Which images gpuhost brought to this host: the record that its probe keeps, too.

One JSON object a line: ``id``, ``reference``, and ``tagged``, when docker gave the image that
name. An image that got a name at another time since is no longer gpuhost's alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORD = Path("/var/lib/gpuhost/images.jsonl")
UNNAMED = "<none>"


@dataclass(frozen=True)
class Brought:
    """An image that gpuhost brought and that is still here.

    ``kept`` says why it is not to be removed; ``tagged`` is when docker named it.
    """

    id: str
    reference: str
    size_bytes: int
    tagged: str
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
            found[entry["id"]] = {key: str(entry[key]) for key in ("id", "reference", "tagged")}
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def note(record: Path, images: Sequence[Mapping[str, Any]], references: Sequence[str]) -> None:
    """Put on record the images (as ``docker image inspect`` shows them) with these names."""
    record.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with record.open("a", encoding="utf-8") as stream:
        for image, reference in zip(images, references, strict=True):
            entry = {"id": image["Id"], "reference": reference, "tagged": _tagged(image)}
            stream.write(json.dumps(entry, sort_keys=True) + "\n")


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
                    tagged=entry["tagged"],
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
        return "somebody pulled, built or named it since"
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
