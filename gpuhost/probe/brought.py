"""Which images gpuhost brought to this host: a record for ``gpuhost images --prune``.

One JSON object a line: ``id``, ``reference``, and ``tagged``, when docker gave the image
that name. An image that got a name at another time since is no longer gpuhost's alone.
The playbooks' module_utils/brought_images.py reads and writes the same file.
"""

from __future__ import annotations

import contextlib
import json
from typing import Sequence

from gpuhost.probe.engine_api import Engine, EngineError
from gpuhost.probe.root import Root
from gpuhost.probe.schema import Image

RECORD = "/var/lib/gpuhost/images.jsonl"


def note(engine: Engine, images: Sequence[Image], root: Root) -> None:
    """Put on record those images that were not here before; where it cannot, they stay for good."""
    references = {i["reference"] for i in images if i["id"] and not i["present_before"]}
    lines = [line for reference in sorted(references) for line in _lines(engine, reference)]
    if not lines:
        return
    with contextlib.suppress(OSError):
        record = root.path(RECORD)
        record.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))


def _lines(engine: Engine, reference: str) -> Sequence[str]:
    try:
        found = engine.image(reference)
    except EngineError:
        return []
    if found is None:
        return []
    tagged = (found.get("Metadata") or {}).get("LastTagTime", "")
    entry = {"id": found["Id"], "reference": reference, "tagged": tagged}
    return [json.dumps(entry, sort_keys=True) + "\n"]
