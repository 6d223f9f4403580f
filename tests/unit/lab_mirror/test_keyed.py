import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.lab.keyed import ensure_built, key_of, locked


def make_file(scratch: Path) -> Path:
    (scratch / "file").write_text("new")
    return scratch


def test_a_folder_is_built_once_for_a_key(tmp_path: Path) -> None:
    assert ensure_built(tmp_path / "a", "key", make_file)
    assert not ensure_built(tmp_path / "a", "key", make_file)


def test_another_key_builds_it_again_and_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a"
    ensure_built(target, "one", make_file)
    (target / "old").touch()
    assert ensure_built(target, "two", make_file)
    assert not (target / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_build_may_give_a_folder_inside_its_scratch(tmp_path: Path) -> None:
    def make(scratch: Path) -> Path:
        (scratch / "inner").mkdir()
        return make_file(scratch / "inner")

    ensure_built(tmp_path / "a", "key", make)
    assert (tmp_path / "a/file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def fail(scratch: Path) -> Path:
        (scratch / "half").touch()
        raise OSError("disk full")

    ensure_built(tmp_path / "a", "one", make_file)
    with pytest.raises(OSError, match="disk full"):
        ensure_built(tmp_path / "a", "two", fail)
    assert (tmp_path / "a/file").read_text() == "new"
    assert ensure_built(tmp_path / "a", "two", make_file)


def test_a_key_follows_the_contents_and_names_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("1")
    before = key_of(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("cache")
    assert key_of(folder) == before
    (folder / "a.py").write_text("2")
    changed = key_of(folder)
    assert changed != before
    (folder / "a.py").rename(folder / "b.py")
    assert key_of(folder) not in (before, changed)


@given(st.lists(st.text()), st.lists(st.text()))
def test_different_texts_have_different_keys(one: list[str], other: list[str]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    entered = threading.Event()

    def enter() -> None:
        with locked(tmp_path, "x"):
            entered.set()

    thread = threading.Thread(target=enter)
    with locked(tmp_path, "x"):
        thread.start()
        assert not entered.wait(0.1)
    thread.join(10)
    assert entered.is_set()
