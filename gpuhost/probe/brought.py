"""Which images gpuhost brought to this host: a record for ``gpuhost images --prune``.

One JSON object a line: ``id``, ``reference``, ``at`` (when it was brought, RFC 3339) and
``tagged``, when docker last named the image: never, for one that was pulled. An image that
somebody built or named since is no longer gpuhost's alone.
The playbooks' module_utils/brought_images.py reads and writes the same file.
"""

from __future__ import annotations

import contextlib
import json
import time
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
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry = {"id": found["Id"], "reference": reference, "at": at, "tagged": tagged}
    return [json.dumps(entry, sort_keys=True) + "\n"]
