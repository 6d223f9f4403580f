"""Merging into daemon.json, for any file and any declaration."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import roles

config = roles.util("daemon_config")

KEYS = st.sampled_from(["features", "runtimes", "log-opts", "cdi", "nvidia", "path", "debug"])
LEAVES = st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers()))
OBJECTS = st.recursive(
    st.dictionaries(KEYS, LEAVES, max_size=4),
    lambda below: st.dictionaries(KEYS, st.one_of(LEAVES, below), max_size=4),
    max_leaves=12,
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Everything in a tree of objects that is not an object with keys, by its path."""
    if isinstance(value, dict) and value:
        below = [leaves(child, (*path, key)) for key, child in value.items()]
        return {where: leaf for each in below for where, leaf in each.items()}
    return {path: value}


@given(existing=OBJECTS, declared=OBJECTS)
def test_merging_again_changes_nothing(existing: Any, declared: Any) -> None:
    once = config.merge(existing, declared)
    assert config.merge(once, declared) == once


@given(existing=OBJECTS, declared=OBJECTS)
def test_every_declared_value_is_there(existing: Any, declared: Any) -> None:
    merged = leaves(config.merge(existing, declared))
    for path, value in leaves(declared).items():
        if value != {}:
            assert merged[path] == value


@given(existing=OBJECTS, declared=OBJECTS)
def test_every_foreign_key_is_kept(existing: Any, declared: Any) -> None:
    merged = leaves(config.merge(existing, declared))
    declared_paths = set(leaves(declared))
    for path, value in leaves(existing).items():
        above = {path[:length] for length in range(len(path) + 1)}
        is_declared = above & declared_paths or any(
            other[: len(path)] == path for other in declared_paths
        )
        if not is_declared:
            assert merged[path] == value


@given(existing=OBJECTS, declared=OBJECTS)
def test_neither_side_is_changed(existing: Any, declared: Any) -> None:
    before = json.dumps([existing, declared])
    config.merge(existing, declared)
    assert json.dumps([existing, declared]) == before


@given(OBJECTS)
def test_what_is_written_is_read_back(existing: Any) -> None:
    assert config.parse(config.render(existing)) == existing


def test_turning_cdi_on_keeps_the_other_features() -> None:
    existing = {"features": {"containerd-snapshotter": True}}
    declared = {"features": {"cdi": True}}
    assert config.merge(existing, declared) == {
        "features": {"containerd-snapshotter": True, "cdi": True}
    }


def test_registering_the_runtime_gives_what_nvidia_ctk_writes(captures: Path) -> None:
    written = json.loads((captures / "daemon-json-1.18.2" / "daemon.json").read_text())
    declared = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    assert config.merge({}, declared) == written


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_an_empty_object(text: str) -> None:
    assert config.parse(text) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,}', "not valid JSON: .* line 1"),
        ("[]", "a JSON list, not an object"),
        ("null", "not an object"),
    ],
)
def test_what_is_no_object_is_refused_with_where_and_why(text: str, words: str) -> None:
    with pytest.raises(config.InvalidConfigError, match=words):
        config.parse(text)
