"""What ``nvidia-ctk runtime configure`` makes of a daemon.json, byte for byte."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

GO_MESSAGES = {
    "Expecting property name": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma": "looking for beginning of value",
    "Expecting value": "looking for beginning of value",
    "Expecting ',' delimiter": "after object key:value pair",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
}


class DaemonJsonError(ValueError):
    """A daemon.json that can't be read; the text is that of Go's decoder."""


class Runtime(NamedTuple):
    """The runtime to add, and what to change with it."""

    name: str
    path: str
    is_default: bool
    enables_cdi: bool


def configured(text: str, runtime: Runtime) -> str:
    """The daemon.json ``text`` with the runtime added; keys sorted, no final newline.

    As upstream: enabling CDI replaces ``features`` as a whole.
    """
    document = _decoded(text)
    runtimes = document.get("runtimes", {})
    runtimes[runtime.name] = {"args": [], "path": runtime.path}
    document["runtimes"] = runtimes
    if runtime.is_default:
        document["default-runtime"] = runtime.name
    if runtime.enables_cdi:
        document["features"] = {"cdi": True}
    return _encoded(document)


def _decoded(text: str) -> dict[str, Any]:
    if not text.strip():
        raise DaemonJsonError("EOF")
    try:
        document = json.loads(text, parse_float=_number)
    except json.JSONDecodeError as error:
        raise DaemonJsonError(_in_words_of_go(error)) from error
    if not isinstance(document, dict):
        raise DaemonJsonError("json: cannot unmarshal into Go value of type docker.Config")
    return document


def _in_words_of_go(error: json.JSONDecodeError) -> str:
    rest = error.doc[error.pos :].lstrip(" \t\r\n,")
    if not rest:
        return "unexpected EOF"
    for python, go in GO_MESSAGES.items():
        if error.msg.startswith(python):
            return f"invalid character '{rest[0]}' {go}"
    return f"invalid character '{rest[0]}'"


def _number(text: str) -> float:
    """A number as Go writes it again: 1.0 and 1e3 become whole."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _encoded(document: dict[str, Any]) -> str:
    text = json.dumps(document, indent=4, sort_keys=True, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
