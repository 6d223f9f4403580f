"""The modules (streams) of a repository for dnf, as YAML documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def of_branch(text: str, branch: str) -> str:
    """Those documents that are streams of a branch of the driver."""
    return _written(
        [
            document
            for document in _documents(text)
            if document["document"] == "modulemd"
            and str(document["data"]["stream"]).startswith(f"{branch}-")
        ]
    )


def kept(file: Path, text: str) -> str:
    """All documents that ``file`` has ever been given, with those in ``text``."""
    found = {}
    for document in [*_documents(file.read_text() if file.exists() else ""), *_documents(text)]:
        data = document["data"]
        found[(data["name"], str(data["stream"]), str(data.get("version")))] = document
    written = _written(list(found.values()))
    if written:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(written)
    return written


def _documents(text: str) -> list[dict[str, Any]]:
    # Without types: a stream 10 or a context 1e5 must stay what they are.
    return [document for document in yaml.load_all(text, yaml.BaseLoader) if document]


def _written(documents: list[dict[str, Any]]) -> str:
    if not documents:
        return ""
    return str(yaml.safe_dump_all(documents, explicit_start=True, sort_keys=False))
