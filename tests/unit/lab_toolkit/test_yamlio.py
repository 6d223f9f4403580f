"""The subset of YAML: whatever is written, any reader reads back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.lab.toolkit.standin import yamlio

KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,9}", fullmatch=True).filter(
    lambda key: not yamlio.NEEDS_QUOTES.search(key)
)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
TRICKY = st.sampled_from(["0", "0:1", "1.5", "0.5.0", "true", "No", "~", "", "- a", "a: b", "a #b"])
SCALARS = st.one_of(PRINTABLE, TRICKY, st.integers(0, 10**9))
LISTS = st.lists(SCALARS, min_size=1, max_size=4)
FLAT = st.dictionaries(KEYS, st.one_of(SCALARS, LISTS), min_size=1, max_size=4)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.one_of(SCALARS, LISTS, FLAT, st.lists(FLAT, min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


@given(DOCUMENTS)
def test_what_is_written_is_read_back_by_a_real_yaml_reader(document: dict[str, Any]) -> None:
    assert yaml.safe_load(yamlio.dump(document)) == document


@given(DOCUMENTS)
def test_what_is_written_is_read_back_here(document: dict[str, Any]) -> None:
    assert yamlio.load(yamlio.dump(document)) == document


def test_nothing_is_read_from_an_empty_document() -> None:
    assert yamlio.load("---\n# nothing\n") is None


@pytest.mark.parametrize(
    "text", ["a: {b: c}", "a:\n  - [1, 2]", "a: &x 1", "a: |\n  text", "a: 1\n   b: 2", "just text"]
)
def test_yaml_beyond_the_subset_is_refused_not_misread(text: str) -> None:
    with pytest.raises(yamlio.YamlError):
        yamlio.load(text)
