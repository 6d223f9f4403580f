"""The rewriting that lets newer libraries load on Python 3.9."""

from __future__ import annotations

import sys
import typing
from typing import Any

import pytest

from gpuhost.probe import backport
from gpuhost.probe.backport import MODULE, rewrite, union


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, backport)


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(rewrite(source), "rewritten.py", "exec"), names)
    return names


def test_numbers_and_sets_are_joined_as_before() -> None:
    assert run("a = 4 | 3\nb = {1} | {2} | {3}\nc = 1\nc |= 2\n")["b"] == {1, 2, 3}


def test_types_become_a_union() -> None:
    assert union(int, None) == int | None
    assert run("import typing\nX = bytes | str\n")["X"] == bytes | str


def test_what_python_3_9_cannot_join_is_joined_by_typing() -> None:
    class Meta(type):
        def __or__(cls, other: object) -> Any:
            raise TypeError("unsupported operand type(s) for |")

    class Old(metaclass=Meta):
        pass

    assert typing.get_args(union(Old, int)) == (Old, int)


def test_docstring_and_future_imports_stay_first() -> None:
    source = '"""Doc."""\nfrom __future__ import annotations\nX = int | str\n'
    assert run(source)["__doc__"] == "Doc."


def test_names_that_typing_lacks_become_any() -> None:
    source = "from typing import Any, NotYetInvented as New, Protocol\nX: New = 1\n"
    names = run(source)
    assert names["New"] is typing.Any
    assert names["Protocol"] is typing.Protocol


def test_an_import_that_is_left_with_nothing_goes_away() -> None:
    assert run("from typing import NotYetInvented\n")["NotYetInvented"] is typing.Any
