"""What docker and its files say: daemon.json, image environments, how a container was served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpuhost.parse.errors import ParseError

# Docker keeps the login to Docker Hub under a name of its own.
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEY = "https://index.docker.io/v1/"
_FRAMEWORK = re.compile(r"NVIDIA_(?P<name>[A-Z_]+?)(?:_SERVER)?_VERSION")


def parse_daemon_json(text: str) -> dict[str, Any]:
    """The settings in a daemon.json; an empty file has none, as dockerd reads it.

    Raises:
        ParseError: it is not a JSON object; the reason has line and column.
    """
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise ParseError("a daemon.json", reason) from error
    if not isinstance(document, dict):
        raise ParseError("a daemon.json", "it is not an object", text)
    return document


def parse_env(env: Sequence[str]) -> dict[str, str]:
    """``["A=1", "B=2"]`` as a mapping; the last of several wins, as in a container."""
    return dict(line.partition("=")[::2] for line in env)


def framework_versions(env: Mapping[str, str]) -> dict[str, str]:
    """The releases that an NGC image says it has: ``{"pytorch": "26.08"}``."""
    found = {}
    for name, value in env.items():
        match = _FRAMEWORK.fullmatch(name)
        if match and re.match(r"\d\d\.\d\d", value):
            found[match["name"].lower()] = value
    return found


def tag(reference: str) -> str:
    """The tag of an image reference; empty where it has none or goes by digest alone."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def release(reference: str) -> str | None:
    """The release in an NGC tag: ``nvcr.io/nvidia/pytorch:26.08-py3`` → ``26.08``."""
    match = re.match(r"\d\d\.\d\d", tag(reference))
    return match[0] if match else None


def mechanism(path: str, served_by: str | None) -> str:
    """How a container really got its GPUs, from NVIDIA_VISIBLE_DEVICES inside it.

    The NVIDIA CDI specifications set it to ``void``; the hook leaves what
    the request said.
    """
    if served_by is None:
        return "unknown"
    if served_by == "void":
        return "CDI"
    return "hook" if path != "cdi" else f"NVIDIA_VISIBLE_DEVICES={served_by}"


def differences(declared: Any, found: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where ``found`` lacks or contradicts ``declared``: (place, declared, found).

    Objects are compared key by key, everything else as a whole; keys that
    are only in ``found`` are no difference. A missing value is ``None``.
    """
    if isinstance(declared, Mapping) and isinstance(found, Mapping):
        for key, value in declared.items():
            yield from differences(value, found.get(key), f"{at}.{key}" if at else str(key))
    elif declared != found or isinstance(declared, bool) is not isinstance(found, bool):
        yield at, declared, found


def login_key(registry: str) -> str:
    """The name under which docker keeps a login to ``registry``."""
    return _HUB_KEY if registry in _HUB else registry
