"""The ledger on a host: the lock of a run, the files from before it, what it changed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import roles

store = roles.util("ledger_store")
run_lock = roles.util("run_lock")
originals = roles.util("originals")
snapshot = roles.util("snapshot")
files = roles.util("files")
ledger = roles.library("ledger")

HOLDER = {
    "user": "ops",
    "machine": "bastion",
    "place": "p",
    "pid": 4711,
    "started": "1",
    "command": "gpuhost provision a",
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty ledger, and no run."""
    monkeypatch.setattr(store, "FOLDER", tmp_path / "ledger")
    monkeypatch.delenv(run_lock.RUN_VARIABLE, raising=False)
    return tmp_path / "ledger"


@pytest.fixture
def in_run(monkeypatch: pytest.MonkeyPatch) -> str:
    """A run that is under way and holds the lock."""
    monkeypatch.setenv(run_lock.RUN_VARIABLE, "r1")
    store.save(store.RUN, record("r1"))
    return "r1"


def record(run: str, **more: Any) -> dict[str, Any]:
    base = {"run": run, "holder": HOLDER, "kind": "provision", "since": 0.0, "before": {}}
    return {**base, **more}


class FailedError(Exception):
    """A module that failed."""


def module(**more: Any) -> SimpleNamespace:
    def fail_json(msg: str) -> None:
        raise FailedError(msg)

    def atomic_move(source: str, target: str) -> None:
        Path(source).replace(target)

    return SimpleNamespace(check_mode=False, fail_json=fail_json, atomic_move=atomic_move, **more)


# ---------------------------------------------------------------- ledger_store


def test_a_document_is_kept_for_root_alone_and_replaced_whole(folder: Path) -> None:
    assert store.read("x.json") is None
    store.save("x.json", {"a": 1})
    store.save("x.json", {"b": [2]})
    assert store.read("x.json") == {"b": [2]}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "x.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["x.json"]


def test_a_document_that_was_cut_short_counts_as_none(folder: Path) -> None:
    store.save("x.json", {"a": 1})
    (folder / "x.json").write_text('{"a":')
    assert store.read("x.json") is None


def test_what_is_not_there_is_removed_without_a_word() -> None:
    store.remove("x.json")
    store.save("x.json", 1)
    store.remove("x.json")
    assert store.read("x.json") is None


def test_only_one_process_at_a_time_is_at_the_ledger(folder: Path) -> None:
    with store.alone():
        try_lock = ["flock", "--nonblock", str(folder / "mutex"), "true"]
        assert subprocess.run(try_lock, check=False).returncode == 1
    assert subprocess.run(try_lock, check=False).returncode == 0


# -------------------------------------------------------------------- run_lock


def test_a_lock_is_held_until_nothing_was_heard_for_the_lease_or_the_silence_is_over() -> None:
    assert run_lock.is_held(record("r1"), 1000.0, 1000.0 + run_lock.LEASE_S - 1, [])
    assert not run_lock.is_held(record("r1"), 1000.0, 1000.0 + run_lock.LEASE_S, [])
    rebooting = record("r1", quiet_until=5000.0)
    assert run_lock.is_held(rebooting, 1000.0, 4999.0, [])
    assert not run_lock.is_held(rebooting, 1000.0, 5000.0, [])


def test_a_lock_is_held_as_long_as_the_run_has_a_process_on_the_host() -> None:
    assert run_lock.is_held(record("r1"), 0.0, time.time(), ["12 apt-get"])


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Two processes of a run, one of another, and one that just ended."""
    for pid, (name, environment) in {
        "10": ("apt-get", b"A=1\0GPUHOST_RUN=r1\0"),
        "11": ("dpkg", b"GPUHOST_RUN=r1"),
        "12": ("sshd", b"GPUHOST_RUN=r12\0"),
    }.items():
        (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc" / pid / "environ").write_bytes(environment)
        (tmp_path / "proc" / pid / "comm").write_text(f"{name}\n")
    (tmp_path / "proc" / "13").mkdir()
    return tmp_path / "proc"


def test_processes_of_a_run_are_known_by_their_environment(proc: Path) -> None:
    assert sorted(run_lock.processes_of("r1", proc)) == ["10 apt-get", "11 dpkg"]


def test_a_module_outside_a_run_needs_no_lock(folder: Path) -> None:
    run_lock.require(module())
    assert not folder.exists()


def test_a_module_of_the_run_gives_a_sign_of_life_and_notes_its_role(
    in_run: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del in_run
    monkeypatch.setenv(run_lock.ROLE_VARIABLE, "docker_ce")
    os.utime(folder / store.RUN, (1, 1))
    run_lock.require(module())
    assert run_lock.at() == "docker_ce"
    assert run_lock.last_heard() > time.time() - 60
    assert (folder / store.RUN).stat().st_mtime > 1


def test_a_run_that_was_given_up_stops_and_says_who_took_over(in_run: str) -> None:
    del in_run
    store.save(store.RUN, record("r2"))
    with pytest.raises(FailedError, match=r"taken over by `gpuhost provision a` \(ops@bastion"):
        run_lock.require(module())
    store.remove(store.RUN)
    with pytest.raises(FailedError, match=r"taken over\. It stopped"):
        run_lock.require(module())


# ------------------------------------------------------------------- originals


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


def test_outside_a_run_no_original_is_kept(etc: Path, folder: Path) -> None:
    files.write(module(), etc / "new", "text")
    originals.note_member("docker", "alice")
    originals.note_copy(etc / "copy")
    assert not folder.exists()


def test_a_file_is_kept_as_it_was_before_the_first_change(
    in_run: str, etc: Path, folder: Path
) -> None:
    del in_run
    path = etc / "file"
    path.write_bytes(b"\xff old")
    path.chmod(0o640)
    files.write(module(), path, "new")
    files.write(module(), path, "newer")
    noted = originals.index()["files"][str(path)]
    assert (folder / "originals" / noted["copy"]).read_bytes() == b"\xff old"
    assert (noted["mode"], noted["uid"]) == (0o640, os.getuid())


def test_a_file_that_was_not_there_is_noted_with_the_folders_made_for_it(
    in_run: str, etc: Path
) -> None:
    del in_run
    path = etc / "docker" / "deep" / "file"
    files.write(module(), path, "new")
    noted = originals.index()
    assert noted["files"] == {str(path): {"copy": None}}
    assert sorted(noted["folders"]) == [str(etc / "docker"), str(etc / "docker" / "deep")]


def test_members_declared_keys_and_copies_add_up(in_run: str) -> None:
    del in_run
    for user in ("bob", "alice", "bob"):
        originals.note_member("docker", user)
    for key in ("a", "b"):
        originals.note_declared("/d.json", lambda noted, key=key: {**noted, key: 1})
    originals.note_copy("")
    originals.note_copy("/d.json.1~")
    noted = originals.index()
    assert noted["members"] == {"docker": ["alice", "bob"]}
    assert noted["declared"] == {"/d.json": {"a": 1, "b": 1}}
    assert noted["copies"] == ["/d.json.1~"]


# -------------------------------------------------------------------- snapshot

SELECTIONS = """\
install installed 1.0-1 plain
hold installed 2.0-1 libheld:amd64
deinstall config-files 3.0-1 removed
install half-configured 4.0-1 cut-short
unknown not-installed
"""


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(snapshot.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(snapshot, "run", lambda *_: (0, SELECTIONS))
    return iter(())


@pytest.mark.usefixtures("dpkg")
def test_packages_are_those_that_have_files_on_disk_whatever_their_state() -> None:
    versions = {"plain": "1.0-1", "libheld:amd64": "2.0-1", "cut-short": "4.0-1"}
    assert snapshot.packages() == versions
    assert snapshot.held() == ["libheld:amd64"]


def test_keys_and_kernels_that_rpm_has_side_by_side_count_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = (
        "gpg-pubkey aa-1 aa-1\ngpg-pubkey bb-2 bb-2\n"
        "kernel-devel 5.14-1 5.14-1\nkernel-headers 5.14-1 5.14-1\ndocker-ce 29-1 3:29-1\n"
    )
    monkeypatch.setattr(snapshot.shutil, "which", lambda _name: None)
    monkeypatch.setattr(snapshot, "run", lambda *_: (0, listed))
    found = snapshot.packages()
    assert [*found] == [
        *("gpg-pubkey-aa-1", "gpg-pubkey-bb-2", "kernel-devel-5.14-1"),
        *("kernel-headers", "docker-ce"),
    ]
    assert found["docker-ce"] == "3:29-1"


def test_what_changed_has_its_old_and_new_version() -> None:
    assert snapshot.changes({"a": "1", "b": "1", "c": "1"}, {"b": "1", "c": "2", "d": "1"}) == {
        "a": ["1", None],
        "c": ["1", "2"],
        "d": [None, "1"],
    }


def test_groups_and_the_links_that_enable_units_are_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\ndocker:x:999:alice,bob\n+nis\n")
    assert snapshot.groups(tmp_path) == {"root": [], "docker": ["alice", "bob"]}
    wants = tmp_path / "units" / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "docker.service").symlink_to("/nowhere")
    (tmp_path / "units" / "plain.service").write_text("")
    assert snapshot.unit_links(tmp_path / "units") == [str(wants / "docker.service")]


# ------------------------------------------------------------- the module itself


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The packages that the host has; a test may change them."""
    packages = {"docker.io": "20.10"}
    monkeypatch.setattr(ledger.snapshot, "packages", lambda: dict(packages))
    monkeypatch.setattr(ledger.snapshot, "baseline", lambda: {"held": []})
    return packages


def ask(state: str, run: str = "r1", **more: Any) -> Any:
    return roles.run(ledger, state=state, run=run, holder=HOLDER, **more)


def test_a_run_notes_the_versions_that_it_changed(installed: dict[str, str]) -> None:
    ask("begun")
    installed.clear()
    installed["docker-ce"] = "29"
    changed = {"docker-ce": [None, "29"], "docker.io": ["20.10", None]}
    assert ask("ended")["version_changes"] == changed
    (entry,) = ask("read")["history"]
    assert (entry["kind"], entry["packages"]) == ("provision", changed)
    assert "before" not in entry
    assert store.read(store.RUN) is None


def test_a_run_that_changed_no_version_leaves_no_entry(installed: dict[str, str]) -> None:
    del installed
    ask("begun")
    ask("ended")
    assert ask("read")["history"] == []


def test_a_second_run_is_refused_and_told_when_the_host_is_free(installed: dict[str, str]) -> None:
    del installed
    ask("begun")
    refused = ask("begun", "r2")
    assert refused["failed"]
    assert refused["lock"]["run"] == "r1"
    assert refused["lock"]["free_at"] > time.time()
    assert "before" not in refused["lock"]
    assert json.loads((store.place(store.RUN)).read_text())["run"] == "r1"


def test_a_dead_run_is_taken_over_and_what_it_changed_counts_as_this_runs(
    installed: dict[str, str],
) -> None:
    ask("begun")
    installed["docker-ce"] = "29"
    taken = ask("begun", "r2", dead="r1")
    assert taken["unfinished"]["run"] == "r1"
    assert ask("ended", "r1")["version_changes"] == {}
    assert ask("ended", "r2")["version_changes"] == {"docker-ce": [None, "29"]}


def test_a_dead_runs_processes_are_waited_for(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed
    ask("begun")
    answers = iter([[], ["10 apt-get"], ["10 apt-get"], []])
    monkeypatch.setattr(ledger.run_lock, "processes_of", lambda _run: next(answers, []))
    monkeypatch.setattr(ledger, "INTERVAL_S", 0.0)
    assert ask("begun", "r2", dead="r1")["unfinished"]["run"] == "r1"
    monkeypatch.setattr(ledger.run_lock, "processes_of", lambda _run: ["10 apt-get"])
    stuck = ask("begun", "r3", dead="r2", patience_s=0)
    assert "left at work on this host: 10 apt-get" in stuck["msg"]


def test_the_lock_is_kept_over_a_reboot(installed: dict[str, str]) -> None:
    del installed
    ask("begun")
    ask("renewed", quiet_s=900)
    assert store.read(store.RUN)["quiet_until"] > time.time() + 800


def test_the_baseline_is_that_of_the_first_run(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed
    ask("begun")
    ask("ended")
    monkeypatch.setattr(ledger.snapshot, "baseline", lambda: {"held": ["docker-ce"]})
    ask("begun", "r2")
    assert store.read(store.BASELINE) == {"held": []}


def test_what_changes_while_a_host_only_survives_is_somebody_elses(
    installed: dict[str, str], folder: Path
) -> None:
    ask("begun", kind="survive")
    assert not (folder / store.BASELINE).exists()
    installed["linux-image"] = "6"
    assert ask("ended", kind="survive")["version_changes"] == {}
    assert ask("read")["history"] == []
    ask("begun", "r2", kind="survive")
    installed["tzdata"] = "2"
    ask("begun", "r3", dead="r2")
    installed["docker-ce"] = "29"
    assert ask("ended", "r3")["version_changes"] == {"docker-ce": [None, "29"]}


def test_a_host_that_only_survives_puts_on_record_what_a_dead_run_changed(
    installed: dict[str, str],
) -> None:
    ask("begun")
    installed["docker-ce"] = "29"
    ask("begun", "r2", kind="survive", dead="r1")
    assert ask("ended", "r2")["version_changes"] == {"docker-ce": [None, "29"]}


def test_check_mode_takes_no_lock(installed: dict[str, str], folder: Path) -> None:
    del installed
    roles.run(ledger, check=True, state="begun", run="r1", holder=HOLDER)
    assert not folder.exists()


# ------------------------------------------------------------------- stamps


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where stamps are."""
    monkeypatch.setattr(ledger.stamp_files, "FOLDER", tmp_path / "stamps")
    return tmp_path / "stamps"


def test_stamps_are_left_with_the_state_of_the_watched_files(
    installed: dict[str, str], stamps: Path, tmp_path: Path
) -> None:
    del installed
    (tmp_path / "watched").mkdir()
    file = tmp_path / "watched" / "docker.sources"
    file.write_text("Types: deb\n")
    file.chmod(0o640)
    ask("begun")
    ask("ended", stamps={"docker_ce": {"version": 1}}, watched=[str(tmp_path / "watched")])
    stamp = json.loads((stamps / "docker_ce.json").read_text())
    assert stamp["version"] == 1
    assert stamp["files"][str(file)].startswith("0640 ")
    assert (stamps / "docker_ce.json").stat().st_mode & 0o777 == 0o600
    assert stamps.stat().st_mode & 0o777 == 0o700


def test_only_the_stamps_of_roles_that_begin_anew_are_taken_away(
    installed: dict[str, str], stamps: Path
) -> None:
    del installed
    ask("begun")
    ask("ended", stamps={"docker_ce": {}, "docker_users": {}})
    ask("begun", forget=["docker_ce", "nvidia_driver"])
    assert [path.name for path in stamps.iterdir()] == ["docker_users.json"]


def test_a_run_that_is_refused_takes_no_stamp_away(installed: dict[str, str], stamps: Path) -> None:
    del installed
    ask("begun")
    ask("ended", stamps={"docker_ce": {}})
    ask("begun")
    assert ask("begun", "r2", forget=["docker_ce"])["failed"]
    assert (stamps / "docker_ce.json").exists()
