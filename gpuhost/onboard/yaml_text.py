"""Adding to a YAML file that somebody wrote by hand. No I/O.

The file is taken as text: PyYAML, with which Ansible reads it too, only tells
where a line belongs. So every byte that was there stays, and with it comments,
order, quotes and line ends. Whatever comes out is read again and compared with
what was meant; a file for which that does not hold is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str, ...]
Value = Mapping[str, Any] | str | int

NULL = "tag:yaml.org,2002:null"
DEFAULT_STEP = 2
ONE_LINE = 1 << 20
_COMMENT = re.compile(r"(?P<indent>[ ]*)#[^\n]*(?:\n|\Z)")


class YamlTextError(ValueError):
    """A text that is not YAML, or to which nothing can be added without changing more."""


def insert(text: str, path: Sequence[str], key: str, value: Value) -> str:
    """The text with ``key: value`` at the end of the mapping at ``path``.

    Mappings of the path that are missing or empty are made.

    Raises:
        YamlTextError: the text is not one YAML mapping, or the place is of a
            kind that cannot be added to.
    """
    root = compose(text)
    spot, wrapped = _spot(root, tuple(path), {key: value})
    changed = spot.put(text, wrapped)
    _check(text, changed, tuple(path), key, value)
    return changed


def compose(text: str) -> MappingNode:
    """The text's mapping as nodes with their places; raises YamlTextError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise YamlTextError(" ".join(str(error).split())) from error
    if not isinstance(root, MappingNode):
        raise YamlTextError("it is not a mapping (key: value)")
    return root


def child(node: Node, key: str) -> Node | None:
    """The value of a mapping's key; None where there is no mapping or no such key."""
    if not isinstance(node, MappingNode):
        return None
    # Of keys that are there twice, the last one holds.
    found = [value for name, value in node.value if name.value == key]
    return found[-1] if found else None


def keys(node: Node | None) -> list[str]:
    """The keys of a mapping, in order; none where it is no mapping."""
    return [str(name.value) for name, _ in node.value] if isinstance(node, MappingNode) else []


@dataclass(frozen=True)
class _Spot:
    """Where something is added: in ``mapping``, or in place of the empty value of a key.

    ``column`` is that of what is added, ``step`` how far its own content is indented.
    """

    step: int
    column: int
    flow: bool
    mapping: MappingNode | None = None
    empty: Node | None = None

    def put(self, text: str, new: Mapping[str, Any]) -> str:
        """The text with ``new`` here."""
        if self.empty is not None:
            return self._fill(text, self.empty, new)
        if self.mapping is None or not self.mapping.value:
            raise YamlTextError("there is no place to add it to")
        if self.flow:
            end = _end(self.mapping.value[-1])
            return f"{text[:end]}, {_in_braces(new)}{text[end:]}"
        return self._add_lines(text, _end(self.mapping.value[-1]), new)

    def _fill(self, text: str, empty: Node, new: Mapping[str, Any]) -> str:
        begin, end = empty.start_mark.index, empty.end_mark.index
        if self.flow:
            return f"{text[:begin]} {{{_in_braces(new)}}}{text[end:]}"
        # A written null or {} goes, with the blank before it.
        begin = len(text[:begin].rstrip(" ")) if end > begin else begin
        return self._add_lines(text[:begin] + text[end:], begin, new)

    def _add_lines(self, text: str, after: int, new: Mapping[str, Any]) -> str:
        place = self._next_line(text, after)
        dumped = yaml.safe_dump(dict(new), sort_keys=False, width=ONE_LINE, indent=self.step)
        newline = "\r\n" if "\r\n" in text else "\n"
        lines = newline.join(f"{' ' * self.column}{line}" for line in dumped.splitlines())
        if place and not text[:place].endswith("\n"):
            return f"{text[:place]}{newline}{lines}{text[place:]}"
        return f"{text[:place]}{lines}{newline}{text[place:]}"

    def _next_line(self, text: str, after: int) -> int:
        """Where the next line begins, past comments that belong to what was there last."""
        if after and text[after - 1] == "\n":
            place = after
        else:
            newline = text.find("\n", after)
            place = newline + 1 if newline >= 0 else len(text)
        while comment := _COMMENT.match(text, place):
            if len(comment["indent"]) <= self.column or not comment[0]:
                break
            place = comment.end()
        return place


def _spot(root: MappingNode, path: Path, new: Mapping[str, Any]) -> tuple[_Spot, Mapping[str, Any]]:
    """Where ``new`` goes, and what to add there: wrapped in what of the path is missing."""
    node, parent_column, flow = root, 0, False
    for depth, name in enumerate(path):
        flow = flow or bool(node.flow_style)
        found = child(node, name)
        rest = path[depth + 1 :]
        if found is None:
            return _within(node, parent_column, flow), _wrapped(path[depth:], new)
        column = _column(node)
        if _is_empty(found):
            step = _step(node, column - parent_column)
            place = column + step
            return _Spot(step, place, flow, empty=found), _wrapped(rest, new)
        if not isinstance(found, MappingNode):
            raise YamlTextError(f"{'.'.join(path[: depth + 1])} is not a mapping (key: value)")
        node, parent_column = found, column
    return _within(node, parent_column, flow or bool(node.flow_style)), new


def _within(node: MappingNode, parent_column: int, flow: bool) -> _Spot:
    column = _column(node)
    return _Spot(_step(node, column - parent_column), column, flow, mapping=node)


def _is_empty(node: Node) -> bool:
    return node.tag == NULL or (isinstance(node, MappingNode) and not node.value)


def _wrapped(path: Path, new: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in reversed(path):
        new = {name: new}
    return new


def _column(node: MappingNode) -> int:
    """The column of a mapping's keys; an anchor may stand before the first of them."""
    return int(node.value[0][0].start_mark.column) if node.value else 0


def _step(node: MappingNode, usual: int) -> int:
    """How far the mapping's content is indented, as it was written so far."""
    for _, value in node.value:
        if isinstance(value, MappingNode) and value.value and not value.flow_style:
            step = _column(value) - _column(node)
            if step > 0:
                return step
    return usual if usual > 0 else DEFAULT_STEP


def _end(pair: tuple[Node, Node]) -> int:
    """Where a key and its value end in the text."""
    key, value = pair
    if value.start_mark.index < key.start_mark.index:
        return int(key.end_mark.index)  # an alias: its node lies where the anchor is
    if isinstance(value, MappingNode | SequenceNode) and not value.flow_style and value.value:
        last = value.value[-1]
        return _end(last if isinstance(value, MappingNode) else (key, last))
    return int(value.end_mark.index)


def _in_braces(new: Mapping[str, Any]) -> str:
    dumped = yaml.safe_dump(dict(new), sort_keys=False, width=ONE_LINE, default_flow_style=True)
    return dumped.strip()[1:-1]


# ------------------------------------------------------------------ what was meant


Shape = tuple[Any, ...]


def _check(before: str, after: str, path: Path, key: str, value: Value) -> None:
    """Raise YamlTextError unless the texts differ by just that entry."""
    dumped = yaml.compose(yaml.safe_dump(value, sort_keys=False), Loader=yaml.SafeLoader)
    meant = _put(_shape(compose(before)), path, key, _shape(dumped))
    if _shape(compose(after)) != meant:
        raise YamlTextError("it is written in a way to which nothing can be added safely")


def _shape(node: Node | None) -> Shape:
    """What a node means, without its place and its style."""
    if node is None:
        return (NULL, "")
    if isinstance(node, MappingNode):
        return ("map", tuple((_shape(name), _shape(value)) for name, value in node.value))
    if isinstance(node, SequenceNode):
        return ("list", tuple(_shape(item) for item in node.value))
    return (node.tag, "" if node.tag == NULL else node.value)


def _put(shape: Shape, path: Path, key: str, value: Shape) -> Shape:
    pairs = list(shape[1]) if shape[0] == "map" else []
    if not path:
        return ("map", (*pairs, (_text(key), value)))
    name = _text(path[0])
    places = [i for i, (other, _) in enumerate(pairs) if other[1] == path[0]]
    if not places:
        return ("map", (*pairs, (name, _put(("map", ()), path[1:], key, value))))
    at = places[-1]
    pairs[at] = (pairs[at][0], _put(pairs[at][1], path[1:], key, value))
    return ("map", tuple(pairs))


def _text(words: str) -> Shape:
    dumped = yaml.compose(yaml.safe_dump(words), Loader=yaml.SafeLoader)
    return _shape(dumped) if isinstance(dumped, ScalarNode) else ("", words)


# ------------------------------------------------------------------ inventories


def group_paths(root: MappingNode, group: str) -> Iterator[Path]:
    """Every place of an inventory where a group is written, from the top."""
    yield from _group_paths(root, group, ())


def _group_paths(node: Node | None, group: str, path: Path) -> Iterator[Path]:
    for name in keys(node):
        here = (*path, name)
        if name == group:
            yield here
        below = at(node, (name, "children"))
        yield from _group_paths(below, group, (*here, "children"))


def at(root: Node | None, path: Sequence[str]) -> Node | None:
    """The node at a path; None where there is none."""
    node: Node | None = root
    for name in path:
        node = child(node, name) if node is not None else None
    return node
