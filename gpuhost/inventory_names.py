"""The names in an inventory, read fast and without Ansible: for completion in a shell only.

Ansible takes a second to read an inventory, and may ask a cloud for it; a
person who has pressed Tab waits for neither. Scripts and plugins give no
names here, and a file that cannot be read has none.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpuhost.ansible_env import NO_INVENTORY

SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini", ".cfg")
VARIABLES = ("group_vars", "host_vars")
RANGE = re.compile(r"\[(?P<first>\w+):(?P<last>\w+)(?::(?P<step>\d+))?\]")
SECTION = re.compile(r"^\[(?P<group>[^\]:]+)(?::(?P<kind>\w+))?\]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Passes over vaults and whatever else has a tag: names have none."""


_Loader.add_multi_constructor("!", lambda *_: None)


def names(path: Path) -> tuple[list[str], list[str]]:
    """The hosts and the groups of the inventory at ``path``, each once, in its order."""
    hosts: dict[str, None] = {}
    groups: dict[str, None] = {}
    for file in _files(path):
        for name, is_group in _of_file(file):
            (groups if is_group else hosts).setdefault(name)
    return list(hosts), list(groups)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for inner in sorted(path.iterdir()):
            ignored = any(re.search(pattern, str(inner)) for pattern in NO_INVENTORY)
            if not (ignored or inner.name.startswith(".") or inner.name in VARIABLES):
                yield from _files(inner)


def _of_file(path: Path) -> Iterator[tuple[str, bool]]:
    if path.suffix not in SUFFIXES or os.access(path, os.X_OK):
        return
    try:
        text = path.read_text()
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader of ours)
    except (OSError, UnicodeDecodeError):
        return
    except yaml.YAMLError:
        document = None
    if isinstance(document, Mapping):
        yield from _of_groups({} if "plugin" in document else document)
    elif path.suffix not in (".yml", ".yaml", ".json"):
        yield from _of_lines(text)


def _of_groups(groups: Mapping[Any, Any]) -> Iterator[tuple[str, bool]]:
    for name, body in groups.items():
        yield str(name), True
        for host in _part(body, "hosts"):
            for one in expand(str(host)):
                yield one, False
        yield from _of_groups(_part(body, "children"))


def _part(body: Any, key: str) -> Mapping[Any, Any]:
    part = body.get(key) if isinstance(body, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _of_lines(text: str) -> Iterator[tuple[str, bool]]:
    kind = ""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if section := SECTION.match(line):
            kind = section["kind"] or ""
            yield section["group"], True
        elif words and kind == "children":
            yield words[0], True
        elif words and kind != "vars":
            for one in expand(words[0]):
                yield re.sub(r":\d+$", "", one), False


def expand(name: str) -> Iterator[str]:
    """The names that one with ranges stands for: ``gpu-[01:40]``, ``rack-[a:d]``."""
    found = RANGE.search(name)
    if found is None:
        yield name
        return
    for middle in _between(found["first"], found["last"], int(found["step"] or 1) or 1):
        yield from expand(name[: found.start()] + middle + name[found.end() :])


def _between(first: str, last: str, step: int) -> Iterator[str]:
    if first.isdigit() and last.isdigit():
        width = len(first) if first.startswith("0") else 0
        yield from (f"{n:0{width}}" for n in range(int(first), int(last) + 1, step))
    else:
        letters = string.ascii_letters
        begin, end = letters.find(first), letters.find(last)
        yield from letters[begin : end + 1 : step] if begin >= 0 else ""
