"""Adding to a YAML file by hand of somebody else's, without touching the rest."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.onboard.yaml_text import YamlTextError, compose, group_paths, insert

ENTRY: dict[str, Any] = {"gpuhost_gpu_count": 4, "ansible_host": "192.0.2.7"}
SITE = """\
---
# Our GPU hosts.
gpu_hosts:
  children:
    training:   # rack 4
      hosts:
        gpu-01:
          ansible_host: 192.0.2.11
        gpu-02: {ansible_host: "192.0.2.12"}
          # gpuhost_gpu_count: 8

      # The variables of all of them.
      vars:
        key: !vault |
          $ANSIBLE_VAULT;1.1;AES256
          3837

    idle:
  vars:
    ansible_user: ops
"""
NEW = """\
        gpu-07:
          gpuhost_gpu_count: 4
          ansible_host: 192.0.2.7
"""


def test_an_entry_comes_after_the_last_host_and_the_comments_that_are_its() -> None:
    changed = insert(SITE, ("gpu_hosts", "children", "training", "hosts"), "gpu-07", ENTRY)
    before = "          # gpuhost_gpu_count: 8\n"
    assert changed == SITE.replace(before, before + NEW)


def test_a_group_without_anything_gets_its_hosts() -> None:
    changed = insert(SITE, ("gpu_hosts", "children", "idle", "hosts"), "gpu-07", ENTRY)
    assert changed == SITE.replace("    idle:\n", f"    idle:\n      hosts:\n{NEW}")


def test_a_variable_is_added_to_a_host() -> None:
    path = ("gpu_hosts", "children", "training", "hosts", "gpu-01")
    changed = insert(SITE, path, "gpuhost_gpu_model", "H100")
    before = "          ansible_host: 192.0.2.11\n"
    assert changed == SITE.replace(before, f"{before}          gpuhost_gpu_model: H100\n")


@pytest.mark.parametrize(
    "text",
    [
        "g:\n  hosts: {}\n",
        "g:\n  hosts: {}  # none yet\n",
        "g:\n  hosts: ~\n  vars: {a: 1}\n",
        "g:\n  hosts:",
        "g:\n    hosts:\n        a: &x {b: 1}\n        c: *x\n",
        "g: {hosts: {a: {b: 1}, c: }}\n",
        "g: {hosts: }\n",
        "g: {}\n",
        "g:\n",
        "g:\r\n  hosts:\r\n    a:\r\n\r\n# end\r\n",
        "g:\n  hosts:\n    a:\n      words: |\n        one\n\n        two\n\nh:\n  hosts:\n",
        "g:\n  hosts:\n    a:\n      list:\n      - 1\n      - 2\n# end\n",
        "\ufeffg:\n  hosts:\n    a: null",
        "g:\n  hosts: &all\n    a:\nh:\n  vars: {x: 1}\n",
        "g:\n  vars: {x: 1}\n...\n",
    ],
)
def test_hosts_are_added_however_the_group_is_written(text: str) -> None:
    changed = insert(text, ("g", "hosts"), "gpu-07", ENTRY)
    expected = yaml.safe_load(text)
    expected["g"] = expected["g"] or {}
    expected["g"]["hosts"] = (expected["g"].get("hosts") or {}) | {"gpu-07": ENTRY}
    assert yaml.safe_load(changed) == expected
    assert ("\r\n" in text) == ("\r\n" in changed)
    if "\r\n" in text:
        assert "\n" not in changed.replace("\r\n", "")


def test_a_value_with_odd_line_ends_is_written_in_one_line() -> None:
    changed = insert("g:\n  hosts:\n    a:\n", ("g", "hosts", "a"), "v", "\x85\u2028é")
    assert yaml.safe_load(changed)["g"]["hosts"]["a"] == {"v": "\x85\u2028é"}


def test_line_ends_of_two_kinds_stay_as_they_are() -> None:
    changed = insert("g:\r\n  hosts:\n    a:\n", ("g", "hosts"), "b", 1)
    assert changed == "g:\r\n  hosts:\n    a:\n    b: 1\r\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g:\n  hosts: [a, b]\n", "not a mapping"),
        ("h: &x\n  hosts:\n    a:\ng: *x\n", "safely"),
        ("[a]\ngpu-01 ansible_host=192.0.2.1\n", "expected"),
        ("gpu-01\n", "not a mapping"),
        ("g:\n  hosts:\n   - : [\n", "expected"),
        ("a: 1\n---\nb: 1\n", "single document"),
    ],
)
def test_what_cannot_be_added_to_is_refused(text: str, words: str) -> None:
    with pytest.raises(YamlTextError, match=words):
        insert(text, ("g", "hosts"), "gpu-07", ENTRY)


def test_a_group_is_found_wherever_it_is_written() -> None:
    root = compose(f"{SITE}training:\n  hosts:\n    gpu-09:\n")
    assert list(group_paths(root, "training")) == [
        ("gpu_hosts", "children", "training"),
        ("training",),
    ]
    assert not list(group_paths(root, "hosts"))


# ------------------------------------------------------------------ any file


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True)
SCALARS = st.sampled_from(
    ["1", '"1"', "yes", "'it''s'", "a # b", "x: y".replace(": ", ":"), "~", "", "é", "{{ a }}x"]
).map(lambda word: f"'{word}'" if word.startswith("{{") else word)
COMMENTS = st.sampled_from(["", "", "# a comment", "# : - {", "#"])


@st.composite
def inventories(draw: st.DrawFn) -> str:
    """An inventory of one group, as somebody might have written it."""
    step = draw(st.integers(1, 4))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    lines = draw(st.sampled_from([[], ["---"], ["# ours", ""]]))

    def add(depth: int, words: str) -> None:
        comment = draw(COMMENTS)
        lines.append(f"{' ' * step * depth}{words}{f'  {comment}' if comment else ''}")
        for _ in range(draw(st.integers(0, 2))):
            lines.append(draw(st.sampled_from(["", f"{' ' * draw(st.integers(0, 12))}# note"])))

    def add_variables(depth: int) -> None:
        for name in draw(st.lists(NAMES, max_size=3, unique=True)):
            add(depth, f"{name}: {draw(SCALARS)}".rstrip())

    add(0, "site:")
    sections = draw(st.permutations(["hosts", "vars", "children"]))
    for section in sections[: draw(st.integers(0, 3))]:
        add(1, f"{section}:")
        for name in draw(st.lists(NAMES, max_size=3, unique=True)):
            add(2, f"{section[0]}{name}: {draw(SCALARS)}" if section == "vars" else f"{name}:")
            if section == "hosts":
                add_variables(3)
    if draw(st.booleans()):
        add(0, "other:")
    end = draw(st.sampled_from(["", newline]))
    return newline.join(lines) + end


@given(inventories())
def test_whatever_else_is_in_the_file_stays_byte_for_byte(text: str) -> None:
    changed = insert(text, ("site", "hosts"), "new-host", ENTRY)
    begin = next(
        (i for i, (old, new) in enumerate(zip(text, changed, strict=False)) if old != new),
        len(text),
    )
    added = len(changed) - len(text)
    # Added in one piece: what is before it and after it is the file as it was.
    assert any(
        changed[:i] + changed[i + added :] == text for i in range(begin, max(begin - added, -1), -1)
    )
    expected = yaml.safe_load(text)
    expected["site"] = expected["site"] or {}
    expected["site"]["hosts"] = (expected["site"].get("hosts") or {}) | {"new-host": ENTRY}
    assert yaml.safe_load(changed) == expected


@given(inventories(), st.dictionaries(NAMES, st.text(max_size=12), min_size=1, max_size=3))
def test_what_was_added_can_be_added_to(text: str, variables: dict[str, str]) -> None:
    changed = insert(text, ("site", "hosts"), "new-host", ENTRY)
    for name, value in variables.items():
        changed = insert(changed, ("site", "hosts", "new-host"), f"v_{name}", value)
    found = yaml.safe_load(changed)["site"]["hosts"]["new-host"]
    assert found == ENTRY | {f"v_{name}": value for name, value in variables.items()}
