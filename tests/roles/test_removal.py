"""Taking back what gpuhost did: what follows from the ledger, and the files on a host."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import roles

removal = roles.util("removal")
store = roles.util("ledger_store")
originals = roles.util("originals")
daemon_config = roles.util("daemon_config")
undo = roles.library("undo")
text_files = roles.library("text_files")
daemon_json = roles.library("daemon_json")

ENTRIES = [
    {
        "packages": {
            "docker-ce": [None, "28"],
            "docker.io": ["20.10", None],
            "libc6": ["2.36-9", "2.36-10"],
        }
    },
    {"packages": {"docker-ce": ["28", "29"], "podman": ["4.3", None]}},
]


# ---------------------------------------------------------------------- packages


def test_packages_that_came_with_gpuhost_go_whatever_became_of_them_since() -> None:
    assert removal.to_purge(ENTRIES, {"docker-ce": "30", "libc6": "2.36-10"}) == ["docker-ce"]
    assert removal.to_purge(ENTRIES, {}) == []


def test_packages_that_were_there_come_back_in_their_first_version() -> None:
    installed = {"docker-ce": "29", "libc6": "2.36-10"}
    assert removal.to_put_back(ENTRIES, installed) == {
        "docker.io": "20.10",
        "libc6": "2.36-9",
        "podman": "4.3",
    }


def test_packages_that_somebody_else_changed_since_are_theirs() -> None:
    assert (
        removal.to_put_back(ENTRIES, {"docker.io": "26", "libc6": "2.36-11", "podman": "5"}) == {}
    )


def test_a_removal_that_was_cut_short_and_put_on_record_goes_on_from_there() -> None:
    cut = [*ENTRIES, {"packages": {"docker-ce": ["29", None], "docker.io": [None, "20.10"]}}]
    installed = {"docker.io": "20.10", "libc6": "2.36-10"}
    assert removal.to_purge(cut, installed) == []
    assert removal.to_put_back(cut, installed) == {"libc6": "2.36-9", "podman": "4.3"}


def test_what_cannot_be_had_as_it_was_is_told() -> None:
    wanted = {"docker.io": "20.10", "libc6:amd64": "2.36-9", "podman": "4.3", "runc": "1.1"}
    offered = {"docker.io": ["26", "20.10"], "libc6": ["2.36-10"], "podman": ["5", "4.9"]}
    chosen, words = removal.obtainable(wanted, {"libc6:amd64": "2.36-10"}, offered)
    assert chosen == {"docker.io": "20.10", "podman": "5"}
    assert words == [
        "libc6:amd64 stays at 2.36-10: 2.36-9 is not offered any more",
        "podman is back in version 5: 4.3 is not offered",
        "runc 1.1 could not be put back: no repository offers it",
    ]


# ------------------------------------------------------------------- merged keys

JSON = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(original=OBJECTS, declared=OBJECTS)
def test_what_was_merged_comes_out_again(original: Any, declared: Any) -> None:
    merged = daemon_config.merge(original, declared)
    assert removal.without(merged, declared, original) == original


def test_foreign_keys_and_values_that_were_changed_since_stay() -> None:
    declared = {"runtimes": {"nvidia": {"path": "n"}}, "features": {"cdi": True}, "debug": True}
    original = {"features": {"buildkit": True}, "debug": False}
    current = {
        "runtimes": {"nvidia": {"path": "n"}, "audited": {"path": "a"}},
        "features": {"buildkit": True, "cdi": False},
        "debug": True,
        "bip": "172.30.0.1/16",
    }
    assert removal.without(current, declared, original) == {
        "runtimes": {"audited": {"path": "a"}},
        "features": {"buildkit": True, "cdi": False},
        "debug": False,
        "bip": "172.30.0.1/16",
    }


def test_a_key_that_its_owner_deleted_since_does_not_come_back() -> None:
    merged = {"features": {"cdi": True}}
    kept = removal.without(merged, merged, {"features": {"buildkit": True}})
    assert kept == {"features": {}}


# ------------------------------------------------------------------ on the host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder for files of a host on which a run is under way."""
    home = tmp_path / "gpuhost"
    monkeypatch.setattr(store, "FOLDER", home / "ledger")
    monkeypatch.setattr(undo, "HOME", home)
    monkeypatch.setattr(undo.snapshot, "packages", dict)
    monkeypatch.setenv("GPUHOST_RUN", "r1")
    monkeypatch.setattr(daemon_json, "started_at", lambda _module: None)
    monkeypatch.setattr(daemon_json.shutil, "which", lambda _name: None)
    store.save(store.RUN, {"run": "r1", "holder": {}, "kind": "remove", "since": 0, "before": {}})
    store.save(store.BASELINE, {"held": [], "automatic": [], "groups": [], "unit_links": []})
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


def test_files_come_back_with_mode_and_those_that_were_not_there_go(host: Path) -> None:
    edited, removed, new = host / "edited", host / "removed", host / "made" / "new"
    edited.write_bytes(b"mine\n")
    edited.chmod(0o640)
    removed.write_text("mine too")
    wanted: Any = {str(edited): "theirs", str(new): "theirs"}
    roles.run(text_files, present=wanted, absent=[str(removed)])
    assert undo.is_as_before(edited, originals.index()["files"][str(edited)]) is False
    first = roles.run(undo, state="files")
    assert set(first["changed_paths"]) == {str(edited), str(new), str(removed)}
    assert edited.read_bytes() == b"mine\n"
    assert edited.stat().st_mode & 0o7777 == 0o640
    assert removed.read_text() == "mine too"
    assert not new.exists()
    assert not roles.run(undo, state="files")["changed"]


def test_daemon_json_is_the_very_file_again_where_nobody_else_wrote_to_it(host: Path) -> None:
    path = host / "daemon.json"
    path.write_text('{"bip":   "172.30.0.1/16"}')
    roles.run(daemon_json, path=str(path), config={"features": {"cdi": True}})
    assert json.loads(path.read_text())["features"] == {"cdi": True}
    roles.run(undo, state="files")
    assert path.read_text() == '{"bip":   "172.30.0.1/16"}'


def test_daemon_json_keeps_what_was_added_later_and_goes_where_nothing_is_left(host: Path) -> None:
    kept, gone = host / "kept.json", host / "gone.json"
    for path in (kept, gone):
        roles.run(daemon_json, path=str(path), config={"features": {"cdi": True}})
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "debug": True}))
    roles.run(undo, state="files")
    assert json.loads(kept.read_text()) == {"debug": True}
    assert not gone.exists()


def test_a_host_that_gpuhost_never_changed_has_nothing_to_take_back(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del host
    store.remove(store.BASELINE)
    monkeypatch.delenv("GPUHOST_RUN")
    assert roles.run(undo, state="looked")["removal"] == {"nothing": True}


def on_record(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """One package that gpuhost installed, and what the package manager says when asked of it."""
    store.save(store.HISTORY, [{"packages": {"docker-ce": [None, "29"]}}])
    monkeypatch.setattr(undo.snapshot, "packages", lambda: {"docker-ce": "29"})
    monkeypatch.setattr(undo.shutil, "which", lambda name: f"/usr/bin/{name}")

    def run_command(_self: object, argv: Sequence[str], **_: object) -> tuple[int, str, str]:
        return 0, answer if argv[0] in answer.split("|", maxsplit=1)[0] else "", ""

    monkeypatch.setattr(undo.AnsibleModule, "run_command", run_command)


def test_keys_that_rpm_was_told_to_trust_are_erased_by_rpm_alone(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del host
    key = "gpg-pubkey-bb4c48b1-6b06122f"
    installed = {key: "1", "docker-ce": "29"}
    store.save(store.HISTORY, [{"packages": {name: [None, "1"] for name in installed}}])
    monkeypatch.setattr(undo.snapshot, "packages", lambda: installed)
    monkeypatch.setattr(undo, "needed_by", lambda *_: [])
    monkeypatch.setattr(undo, "never_ours", lambda *_: [])
    assert undo.look(None)["removal"]["purge"] == ["docker-ce"]
    assert undo.look(None)["removal"]["keys"] == [key]
    asked: list[list[str]] = []
    module: Any = SimpleNamespace(
        check_mode=False, run_command=lambda argv, **_: asked.append(argv)
    )
    undo.keys(module, [], [])
    assert asked == [["rpm", "--erase", key]]


@pytest.mark.parametrize("before", [None, "stream=535-open"])
def test_the_stream_of_dnfs_modules_is_the_one_from_before(
    host: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    noted = host / "nvidia-driver.module"
    monkeypatch.setattr(undo.snapshot, "STREAM", noted)
    noted.write_text("stream=580-open")
    store.save(store.BASELINE, {"stream": before})
    module = SimpleNamespace(check_mode=False)
    left: list[str] = []
    undo.stream(module, [], left)
    assert undo.snapshot.stream() == before
    noted.write_text("stream=580-open")
    store.save(store.BASELINE, {})
    undo.stream(module, [], left)
    assert left == [f"{noted} stays: what it was before gpuhost is not on record"]


def test_packages_that_need_gpuhosts_stop_a_removal_before_anything_goes(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del host
    on_record(monkeypatch, "apt-get|\nPurg docker-ce [29]\nRemv portainer [2]\n")
    result = roles.run(undo, state="packages")
    assert result["msg"].startswith("portainer would be removed too")


def test_a_ledger_that_claims_what_every_host_has_is_not_believed(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del host
    on_record(monkeypatch, "dpkg-query|\n")
    monkeypatch.setattr(undo, "never_ours", lambda _module, names: list(names))
    assert "It is damaged" in roles.run(undo, state="packages")["msg"]


def test_where_there_is_no_dpkg_what_dnf_protects_is_never_gpuhosts(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host / "systemd.conf").write_text("# of the distribution\nsystemd\nsystemd-udev\n\n")
    monkeypatch.setattr(undo, "PROTECTED", (host, host / "missing"))
    monkeypatch.setattr(undo.shutil, "which", lambda _name: None)
    module: Any = SimpleNamespace()
    assert undo.never_ours(module, ["docker-ce", "systemd", "rpm"]) == ["systemd", "rpm"]
    assert undo.never_ours(module, ["docker-ce"]) == []


def test_copies_and_empty_folders_go_and_folders_in_use_stay(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, empty, copy = host / "used", host / "made" / "empty", host / "daemon.json.1~"
    for folder in (used, empty):
        folder.mkdir(parents=True)
    (used / "mine").write_text("")
    copy.write_text("")
    made = [str(used), str(empty.parent), str(empty)]
    store.save(originals.INDEX, {"folders": made, "copies": [str(copy)]})
    done: list[str] = []
    undo.leftovers(type("Module", (), {"check_mode": False}), done, [])
    assert done == [str(copy), str(empty), str(empty.parent)]
    assert used.is_dir()
    del monkeypatch


def test_the_ledger_goes_last(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del host
    (undo.HOME / "stamps").mkdir()
    (undo.HOME / "stamps" / "docker_ce.json").write_text("{}")
    order: list[str] = []
    real = undo.shutil.rmtree

    def rmtree(path: Path) -> None:
        order.append(path.name)
        real(path)

    monkeypatch.setattr(undo.shutil, "rmtree", rmtree)
    roles.run(undo, state="traces")
    assert order == ["stamps", "ledger"]
    assert not undo.HOME.exists()
    assert os.environ["GPUHOST_RUN"]


def test_what_workloads_computed_stays(host: Path) -> None:
    del host
    checkpoint = undo.HOME / "outputs" / "training" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("learned")
    roles.run(undo, state="traces")
    assert [path.name for path in undo.HOME.iterdir()] == ["outputs"]
    assert checkpoint.read_text() == "learned"
