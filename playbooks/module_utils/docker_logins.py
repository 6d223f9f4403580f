"""Logins in docker's config.json, as docker keeps them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

# Docker Hub is kept under a name of its own, whatever it is called elsewhere.
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
HUB_KEY = "https://index.docker.io/v1/"


def config_key(registry: str) -> str:
    """The name under which docker keeps the login to ``registry``."""
    return HUB_KEY if registry in HUB else registry


def stored(text: str | None) -> Mapping[str, Any]:
    """The logins in the text of a config.json, by docker's names; none where it has none."""
    try:
        found = json.loads(text or "{}").get("auths") or {}
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def account(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Name and password of one stored login; empty where a credential store has them."""
    try:
        name, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password
