"""Merging declared keys into Docker's daemon.json. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class InvalidConfigError(ValueError):
    """A daemon.json that is not a JSON object."""


def parse(text: str) -> dict[str, Any]:
    """The object in the text of a daemon.json; an empty file is an empty object, as for dockerd."""
    if not text.strip():
        return {}
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InvalidConfigError(f"it is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidConfigError(f"it holds a JSON {type(config).__name__}, not an object")
    return config


def merge(existing: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """``existing`` with the keys of ``declared`` set; both are left as they are.

    Objects are merged key by key at every depth. Anything else, lists
    included, is replaced. Keys that are not declared stay.
    """
    merged = dict(existing)
    for key, value in declared.items():
        if isinstance(value, dict):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def render(config: Mapping[str, Any]) -> str:
    """The text of a daemon.json, in the layout that nvidia-ctk writes too."""
    return json.dumps(config, indent=4, ensure_ascii=False) + "\n"
