"""YAML as CDI specifications are written: block style, plain or quoted scalars, no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

INDENT = 4
NEEDS_QUOTES = re.compile(
    r"""^$                                        # nothing
        | ^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?$  # a number
        | ^[-+]?(?:0[xob][0-9a-f_]+|\.[0-9_]+|\.inf|\.nan)$
        | ^[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$   # base 60, as "0:1" of a MIG device
        | ^[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?            # a date
        | ^(?:=|<<)$
        | ^(?:true|false|yes|no|on|off|null|y|n|~)$
        | ^[\s&*!|>'"%@`{\[\]},?\#] | ^-(?:\s|$) | :(?:\s|$) | \s\# | \s$""",
    re.VERBOSE | re.IGNORECASE,
)


class YamlError(ValueError):
    """A document that this subset of YAML can't express."""


# ------------------------------------------------------------------------------ writing


def dump(document: dict[str, Any]) -> str:
    """A document as Go's yaml.v3 writes it, which is how the toolkit does."""
    return "---\n" + "".join(f"{line}\n" for line in _mapping_lines(document, 0))


def _scalar(value: Any) -> str:
    text = str(value)
    if isinstance(value, str) and NEEDS_QUOTES.search(text):
        return json.dumps(text, ensure_ascii=False)
    return text


def _child_indent(indent: int) -> int:
    """The next multiple of INDENT, as yaml.v3 indents below any column."""
    return INDENT * ((indent + INDENT) // INDENT)


def _mapping_lines(mapping: dict[str, Any], indent: int) -> Iterator[str]:
    for key, value in mapping.items():
        prefix = f"{' ' * indent}{key}:"
        if isinstance(value, dict):
            yield prefix
            yield from _mapping_lines(value, _child_indent(indent))
        elif isinstance(value, list):
            yield prefix
            yield from _sequence_lines(value, _child_indent(indent))
        else:
            yield f"{prefix} {_scalar(value)}"


def _sequence_lines(sequence: list[Any], indent: int) -> Iterator[str]:
    for item in sequence:
        if not isinstance(item, dict):
            yield f"{' ' * indent}- {_scalar(item)}"
            continue
        lines = _mapping_lines(item, indent + 2)
        yield f"{' ' * indent}- {next(lines).lstrip()}"
        yield from lines


# ------------------------------------------------------------------------------ reading


class _Line(NamedTuple):
    indent: int
    text: str


def load(text: str) -> Any:
    """The document in ``text``; YamlError if it uses more of YAML than CDI files do."""
    lines = []
    for raw in text.splitlines():
        stripped = raw.strip()
        if stripped and stripped != "---" and not stripped.startswith("#"):
            lines.append(_Line(len(raw) - len(raw.lstrip(" ")), stripped))
    if not lines:
        return None
    value, end = _block(lines, 0, lines[0].indent)
    if end != len(lines):
        raise YamlError(f"unexpected indentation: {lines[end].text}")
    return value


def _block(lines: list[_Line], at: int, indent: int) -> tuple[Any, int]:
    if _is_item(lines[at]):
        return _sequence(lines, at, indent)
    return _mapping(lines, at, indent)


def _is_item(line: _Line) -> bool:
    return line.text == "-" or line.text.startswith("- ")


def _sequence(lines: list[_Line], at: int, indent: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    while at < len(lines) and lines[at].indent == indent and _is_item(lines[at]):
        rest = lines[at].text[1:].lstrip()
        if _key_of(rest) is None:
            items.append(_value(rest))
            at += 1
            continue
        inner = indent + len(lines[at].text) - len(rest)
        lines[at] = _Line(inner, rest)
        item, at = _mapping(lines, at, inner)
        items.append(item)
    return items, at


def _mapping(lines: list[_Line], at: int, indent: int) -> tuple[dict[str, Any], int]:
    mapping: dict[str, Any] = {}
    while at < len(lines) and lines[at].indent == indent and not _is_item(lines[at]):
        key = _key_of(lines[at].text)
        if key is None:
            raise YamlError(f"neither a key nor an item: {lines[at].text}")
        rest = lines[at].text[len(key) + 1 :].strip()
        at += 1
        if rest:
            mapping[key] = _value(rest)
        elif at < len(lines) and _belongs_below(lines[at], indent):
            mapping[key], at = _block(lines, at, lines[at].indent)
        else:
            mapping[key] = None
    return mapping, at


def _belongs_below(line: _Line, indent: int) -> bool:
    """Items of a list may stand in their key's own column."""
    return line.indent > indent or (line.indent == indent and _is_item(line))


def _key_of(text: str) -> Any:
    match = re.match(r"([A-Za-z0-9_./-]+):(?:\s|$)", text)
    return match.group(1) if match else None


def _value(text: str) -> Any:
    if text.startswith('"'):
        return json.loads(text)
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    if text in ("true", "false"):
        return text == "true"
    if text[0] in "{[&*!|>":
        raise YamlError(f"not block style: {text}")
    return text
