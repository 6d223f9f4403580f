"""Outputs brought from a host: the action and its module together, the network played by a copy."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from hypothesis import given
from hypothesis import strategies as st
from support import roles

from gpuhost.events import Progress, translate
from gpuhost.workloads.fetch import readable

MODULE = roles.library("workload_outputs")


def load() -> Any:
    path = roles.PLAYBOOKS / "action_plugins" / "fetch_outputs.py"
    found = importlib.util.spec_from_file_location("fetch_outputs", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


plugin = load()


class Host:
    """A host that is this machine: ``before_copy`` is called with the number of each parcel."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder, self.dest = tmp_path / "outputs", tmp_path / "dest"
        self.folder.mkdir()
        self.tmp_path = tmp_path
        self.before_pack: Callable[[int], None] = lambda _number: None
        self.before_copy: Callable[[int], None] = lambda _number: None
        self.packed = self.copied = 0

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def fetch(self, *, overwrite: bool = False, dest: str | None = None) -> dict[str, Any]:
        action = plugin.ActionModule.__new__(plugin.ActionModule)
        action._connection = SimpleNamespace(fetch_file=self._copy)
        action._execute_module = self._module
        action._low_level_execute_command = lambda *_a, **_k: {"stdout": f"{os.getuid()}\n"}
        action._variables = {"inventory_hostname": "gpu-01"}
        action._outputs = {"name": "w", "folder": str(self.folder)}
        asked = {"dest": str(self.dest) if dest is None else dest, "overwrite": overwrite}
        found: dict[str, Any] = action.look_and_bring(asked)
        return found

    def _module(self, *, module_args: dict[str, Any], **_rest: Any) -> Any:
        if module_args["state"] == "packed":
            self.packed += 1
            self.before_pack(self.packed)
        base, parcels = self.tmp_path / "base", self.tmp_path / "parcels"
        return roles.run(MODULE, base=str(base), parcels=str(parcels), **module_args)

    def _copy(self, source: str, target: str) -> None:
        self.copied += 1
        self.before_copy(self.copied)
        shutil.copyfile(source, target)

    @property
    def brought(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.dest)): path.read_bytes()
            for path in sorted(self.dest.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Parcels of 100 bytes."""
    monkeypatch.setattr(plugin, "PARCEL", 100)
    monkeypatch.setattr(plugin.pieces_of, "__defaults__", (100,))
    monkeypatch.setattr(plugin.parcels, "__defaults__", (100,))
    return Host(tmp_path)


BIG = bytes(range(256)) * 2


def test_all_files_come_with_their_times_and_nothing_stays_on_the_host(host: Host) -> None:
    files = {"a/b/empty": b"", "big.pt": BIG, "log.jsonl": b"{}\n", "größe": b"x"}
    for name, content in files.items():
        host.write(name, content)
    found = host.fetch()
    assert host.brought == dict(sorted(files.items()))
    assert sorted(found["brought"]) == sorted(files)
    assert found["files"] == sorted((name, len(content)) for name, content in files.items())
    changed = (host.folder / "big.pt").stat().st_mtime_ns
    assert (host.dest / "big.pt").stat().st_mtime_ns == changed
    assert not list((host.tmp_path / "parcels").iterdir())


def test_how_much_is_here_is_told_for_each_parcel_in_words_that_gpuhost_knows(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(plugin.Display, "display", lambda _self, words: told.append(words))
    monkeypatch.setattr(plugin, "PARCEL", 2 << 20)
    monkeypatch.setattr(plugin.pieces_of, "__defaults__", (2 << 20,))
    monkeypatch.setattr(plugin.parcels, "__defaults__", (2 << 20,))
    host.write("big.pt", bytes(5 << 20))
    host.fetch()
    found = [translate({"event": "verbose", "stdout": words}) for words in told]
    assert found == [Progress("gpu-01", f"{done} of 5 MiB") for done in (0, 2, 4)]


def test_a_look_brings_nothing(host: Host) -> None:
    host.write("last.pt", BIG)
    assert host.fetch(dest="")["files"] == [("last.pt", len(BIG))]
    assert not host.dest.exists()


def test_what_is_there_already_is_not_brought_again(host: Host) -> None:
    host.write("big.pt", BIG)
    host.fetch()
    host.write("new.pt", b"new")
    assert host.fetch()["brought"] == ["new.pt"]


def test_files_that_differ_are_left_alone_unless_told(host: Host) -> None:
    host.write("last.pt", BIG)
    host.write("log", b"log")
    host.dest.mkdir()
    (host.dest / "last.pt").write_bytes(b"mine")
    with pytest.raises(AnsibleError, match=r"other files of these names: last\.pt"):
        host.fetch()
    assert host.brought == {"last.pt": b"mine"}
    host.fetch(overwrite=True)
    assert host.brought == {"last.pt": BIG, "log": b"log"}


def test_a_fetch_that_was_cut_short_goes_on_where_it_was(host: Host) -> None:
    host.write("big.pt", BIG)

    def cut(number: int) -> None:
        if number == 4:
            raise AnsibleError("the line is cut")

    host.before_copy = cut
    with pytest.raises(AnsibleError, match="the line is cut"):
        host.fetch()
    assert not (host.dest / "big.pt").exists()
    assert not list((host.tmp_path / "parcels").iterdir())
    host.before_copy = lambda _number: None
    host.packed = 0
    host.fetch()
    assert host.packed == 3  # of six parcels
    assert host.brought == {"big.pt": BIG}


def test_a_file_that_changes_meanwhile_is_brought_as_it_is_then(host: Host) -> None:
    host.write("log", b"old" * 100)
    host.write("last.pt", BIG)

    def go_on(number: int) -> None:
        if number == 8:  # in the middle of the log
            host.write("log", b"new" * 101)

    host.before_pack = go_on
    host.fetch()
    assert host.brought == {"last.pt": BIG, "log": b"new" * 101}


def test_a_file_that_never_rests_is_named_and_the_others_come(host: Host) -> None:
    host.write("log", b"x")
    host.write("last.pt", BIG)
    host.before_pack = lambda number: host.write("log", b"x" * number)
    with pytest.raises(AnsibleError, match="change while they are read: log"):
        host.fetch()
    assert host.brought == {"last.pt": BIG}


def test_links_are_told_and_not_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    host.write("a/last.pt", b"x")
    (host.folder / "link").symlink_to(tmp_path / "secret")
    (host.folder / "away").symlink_to(tmp_path)
    assert host.fetch()["skipped"] == ["away", "link"]
    assert host.brought == {"a/last.pt": b"x"}


def test_a_folder_that_became_a_link_leads_nowhere(host: Host, tmp_path: Path) -> None:
    host.write("a/secret", b"mine")
    (tmp_path / "elsewhere").mkdir()
    os.link(host.folder / "a/secret", tmp_path / "elsewhere/secret")

    def swap(_number: int) -> None:
        if not (host.folder / "a").is_symlink():
            (host.folder / "a").rename(host.tmp_path / "moved")
            (host.folder / "a").symlink_to(tmp_path / "elsewhere")

    host.before_pack = swap
    host.fetch()
    assert host.brought == {}


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_a_host_cannot_write_outside_the_folder(name: str) -> None:
    with pytest.raises(AnsibleError, match="cannot be"):
        plugin.files_of({"files": [[name, 1, 1]]})


def test_a_folder_that_is_not_there_is_said(host: Host) -> None:
    host.folder.rmdir()
    with pytest.raises(AnsibleError, match="is not there"):
        host.fetch()


def test_too_little_room_is_said_before_anything_is_brought(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write("last.pt", BIG)
    monkeypatch.setattr(plugin.shutil, "disk_usage", lambda _path: SimpleNamespace(free=0))
    with pytest.raises(AnsibleError, match="0 MB free"):
        host.fetch()
    assert host.brought == {}


def test_the_compose_file_on_the_host_says_where(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = host.tmp_path / "$elsewhere"
    elsewhere.mkdir()
    (elsewhere / "last.pt").write_bytes(b"x")
    (host.tmp_path / "base/w").mkdir(parents=True)
    (host.tmp_path / "base/w/compose.yaml").write_text("{}")
    docker = host.tmp_path / "docker"
    config = json.dumps({"x-gpuhost-outputs": str(elsewhere).replace("$", "$$")})
    docker.write_text(f"#!/bin/sh\ncat <<'END'\n{config}\nEND\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host.tmp_path}:/usr/bin:/bin")
    found = host.fetch()
    assert (found["folder"], host.brought) == (str(elsewhere), {"last.pt": b"x"})


FILES = st.lists(st.integers(0, 1000), max_size=20).map(
    lambda sizes: [plugin.Found(str(n), size, n) for n, size in enumerate(sizes)]
)


@given(FILES)
def test_pieces_are_the_whole_of_each_file_in_parcels_of_bounded_size(files: list[Any]) -> None:
    parcels = list(plugin.parcels(plugin.pieces_of(files, Path("/nonexistent"), 64), 64))
    assert all(0 < sum(piece.length for piece in parcel) <= 64 for parcel in parcels)
    whole = dict.fromkeys((file.name for file in files), 0)
    for piece in (piece for parcel in parcels for piece in parcel):
        assert piece.offset == whole[piece.file.name]
        whole[piece.file.name] += piece.length
    assert whole == {file.name: file.size for file in files}


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_are_for_people(size: int, words: str) -> None:
    assert readable(size) == words
