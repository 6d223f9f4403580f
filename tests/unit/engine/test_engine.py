"""The engine against the real ansible-runner and Ansible, on this machine."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.engine import SshServer, processes_with, until

from gpuhost import engine
from gpuhost.engine import Outcome
from gpuhost.errors import InventoryError, PlaybookError
from gpuhost.events import Event, FileDiff, HostResult, HostStarted, Message, Stats, TaskStarted
from gpuhost.ssh_words import Cause

Write = Callable[[str], Path]
Local = Callable[..., Path]
Driver = Callable[..., "subprocess.Popen[str]"]
SECRET = "correct-horse-battery-staple"

FATES = {
    "fails": "{name: Say what is wrong, ansible.builtin.fail: {msg: the disk is full}}",
    "command": "{name: Run a command, ansible.builtin.shell: "
    "'for i in $(seq 30); do echo \"line $i\" >&2; done; exit 3'}",
    "missing": "{name: Run a missing command, ansible.builtin.command: /no/such/program}",
    "loops": "{name: Go through a list, loop: [one, two], ansible.builtin.shell: "
    "'echo {{ item }} is bad >&2; test {{ item }} = one'}",
    "hides": "{name: Keep a secret, no_log: true, ansible.builtin.shell: "
    "'echo SECRET >&2; exit 1'}",
    "mends": "{block: [{name: Fail first, ansible.builtin.command: 'false'}], "
    "rescue: [{name: Mend it, ansible.builtin.command: 'true'}]}",
    "ignores": "{name: Fail, ansible.builtin.command: 'false', ignore_errors: true}",
    "undefined": "{name: Use what is not there, ansible.builtin.debug: {msg: '{{ not_there }}'}}",
    "refuses": "{name: Ask the host, ansible.builtin.ping: }",
    "sudo": "{name: Ask for sudo, become: true, become_user: nobody, ansible.builtin.command: id}",
}
NAMES = (*FATES, "skips", "left_out")
# With a second host that is fine, or Ansible would go no further after the first play.
PLAY = """
- name: Fates
  hosts: {host}:skips
  gather_facts: false
  tasks:
    - when: inventory_hostname == '{host}'
      block: [{task}]
"""


def ignore(event: Event) -> None:
    del event


def folders_of_runs(folder: Path) -> list[Path]:
    return list(folder.glob(f"{engine.PREFIX}*"))


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[Event]]:
    """One run on hosts that all end differently."""
    folder = tmp_path_factory.mktemp("fates")
    fake_sudo = folder / "sudo"
    fake_sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake_sudo.chmod(0o755)
    (folder / "playbook.yml").write_text(
        "".join(PLAY.format(host=host, task=task) for host, task in FATES.items())
    )
    (folder / "hosts.ini").write_text(
        "\n".join(NAMES)
        + "\nrefuses ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"
        + f"sudo ansible_become_exe={fake_sudo}\n"
        + "[all:vars]\nansible_connection=local\nansible_python_interpreter=/usr/bin/python3\n"
    )
    events: list[Event] = []
    outcome = engine.run(
        str(folder / "playbook.yml"), folder / "hosts.ini", NAMES, {}, events.append
    )
    return outcome, events


@pytest.mark.parametrize(
    ("host", "task", "message"),
    [
        ("fails", "Say what is wrong", "the disk is full"),
        ("missing", "Run a missing command", "No such file or directory: b'/no/such/program'"),
        ("loops", "Go through a list", "two: echo two is bad >&2; test two = one exited with 1"),
        ("loops", "Go through a list", "\ntwo is bad"),
        ("undefined", "Use what is not there", "'not_there' is undefined"),
        ("hides", "Keep a secret", "its output is hidden (no_log)"),
    ],
)
def test_a_host_that_failed_tells_the_task_and_its_words(
    fates: tuple[Outcome, list[Event]], host: str, task: str, message: str
) -> None:
    outcome = fates[0].hosts[host]
    assert (outcome.ok, outcome.failed, outcome.unreachable) == (False, True, False)
    assert outcome.task == task
    assert message in outcome.message
    assert outcome.cause is Cause.FAILED


def test_of_a_long_error_output_the_end_is_told(fates: tuple[Outcome, list[Event]]) -> None:
    lines = fates[0].hosts["command"].message.splitlines()
    assert lines[0].endswith("exited with 3")
    assert lines[1:] == ["…", *[f"line {i}" for i in range(21, 31)]]


def test_nothing_that_is_marked_no_log_is_in_any_event(
    fates: tuple[Outcome, list[Event]],
) -> None:
    assert "SECRET" not in repr(fates)


@pytest.mark.parametrize("host", ["mends", "ignores", "skips"])
def test_a_failure_that_was_rescued_or_ignored_is_none(
    fates: tuple[Outcome, list[Event]], host: str
) -> None:
    outcome = fates[0].hosts[host]
    assert outcome.ok
    assert (outcome.message, outcome.task, outcome.cause) == ("", "", None)


def test_an_ignored_failure_is_an_ok_result(fates: tuple[Outcome, list[Event]]) -> None:
    statuses = [e.status for e in fates[1] if isinstance(e, HostResult) and e.host == "ignores"]
    assert statuses == ["changed"]


def test_changes_are_counted(fates: tuple[Outcome, list[Event]]) -> None:
    assert fates[0].hosts["mends"].changed == 1
    assert fates[0].hosts["skips"].changed == 0


def test_a_host_that_refuses_connections_is_unreachable_and_not_failed(
    fates: tuple[Outcome, list[Event]],
) -> None:
    outcome = fates[0].hosts["refuses"]
    assert (outcome.ok, outcome.failed, outcome.unreachable) == (False, False, True)
    assert outcome.cause is Cause.REFUSED
    assert outcome.message == "ssh: connect to host 127.0.0.1 port 1: Connection refused"


def test_a_missing_sudo_password_is_told_from_other_failures(
    fates: tuple[Outcome, list[Event]],
) -> None:
    outcome = fates[0].hosts["sudo"]
    assert outcome.failed
    assert outcome.cause is Cause.SUDO_PASSWORD
    assert "ansible_become_password" in outcome.remedy


def test_a_host_that_no_play_was_for_is_not_fine(fates: tuple[Outcome, list[Event]]) -> None:
    outcome = fates[0].hosts["left_out"]
    assert (outcome.ok, outcome.failed) == (False, True)
    assert outcome.cause is Cause.NOT_ATTEMPTED


def test_the_hosts_come_in_the_order_that_they_were_asked_for(
    fates: tuple[Outcome, list[Event]],
) -> None:
    assert tuple(fates[0].hosts) == NAMES


def test_the_events_tell_the_run_from_its_begin_to_its_count(
    fates: tuple[Outcome, list[Event]],
) -> None:
    events = fates[1]
    assert TaskStarted("Fates", "Say what is wrong") in events
    assert HostStarted("fails", "Say what is wrong") in events
    assert isinstance(events[-1], Stats)
    durations = [e.duration_s for e in events if isinstance(e, HostResult) and e.host == "command"]
    assert max(durations) > 0


def test_a_playbook_that_cannot_be_parsed_is_an_error_in_ansibles_words(
    playbook: Write, local: Local
) -> None:
    path = playbook("- hosts: all\n  tasks:\n    - command: a: b\n")
    with pytest.raises(PlaybookError, match=r"YAML parsing failed.*\n.*playbook\.yml:3") as error:
        engine.run(str(path), local("a"), ["a"], {}, ignore)
    assert error.value.remedy


def test_a_task_that_ansible_does_not_know_is_an_error_and_no_unreachable_host(
    playbook: Write, local: Local
) -> None:
    path = playbook("- hosts: all\n  tasks: [{no_such_module: {}}]\n")
    with pytest.raises(PlaybookError, match="no_such_module"):
        engine.run(str(path), local("a"), ["a"], {}, ignore)


def test_a_mistyped_inventory_is_not_taken_for_a_host(playbook: Write, tmp_path: Path) -> None:
    path = playbook("- hosts: all\n  tasks: [{debug: }]\n")
    with pytest.raises(InventoryError, match="inventroy"):
        engine.run(str(path), tmp_path / "inventroy", ["inventroy"], {}, ignore)


def test_a_host_that_the_inventory_lacks_is_an_error(playbook: Write, local: Local) -> None:
    path = playbook("- hosts: all\n  gather_facts: false\n  tasks: [{debug: }]\n")
    with pytest.raises(PlaybookError, match="b"):
        engine.run(str(path), local("a"), ["a", "b"], {}, ignore)


def test_a_playbook_that_matches_no_host_leaves_every_host_failed(
    playbook: Write, local: Local
) -> None:
    path = playbook("- hosts: all:!a:!b\n  gather_facts: false\n  tasks: [{debug: }]\n")
    outcome = engine.run(str(path), local("a", "b"), ["a", "b"], {}, ignore)
    assert [host.cause for host in outcome.hosts.values()] == [Cause.NOT_ATTEMPTED] * 2


def test_hosts_of_a_batch_that_was_never_begun_are_not_fine(playbook: Write, local: Local) -> None:
    path = playbook(
        "- hosts: all\n  gather_facts: false\n  serial: 1\n"
        "  tasks: [{ansible.builtin.fail: {msg: no}}]\n"
    )
    outcome = engine.run(str(path), local("a", "b"), ["a", "b"], {}, ignore)
    assert outcome.hosts["b"].cause is Cause.NOT_ATTEMPTED
    assert "after it failed on a" in outcome.hosts["b"].message


def test_no_hosts_never_means_all_hosts(playbook: Write, local: Local) -> None:
    with pytest.raises(ValueError, match="without hosts"):
        engine.run(str(playbook("[]")), local("a"), [], {}, ignore)


def test_secrets_are_on_no_command_line_and_leave_with_the_run(
    playbook: Write, local: Local, own_tmp: Path
) -> None:
    path = playbook(
        "- hosts: all\n  gather_facts: false\n"
        "  tasks: [{name: Use it, ansible.builtin.shell: test -n $S, "
        "environment: {S: '{{ secret }}'}}]\n"
    )
    seen: list[list[int]] = []
    modes: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, (HostStarted, HostResult)):
            seen.append(processes_with(SECRET))
            modes.extend(stat.S_IMODE(folder.stat().st_mode) for folder in own_tmp.iterdir())

    outcome = engine.run(str(path), local("a"), ["a"], {"secret": SECRET}, look)
    assert outcome.hosts["a"].ok
    assert seen == [[], []]
    assert set(modes) == {0o700}
    assert list(own_tmp.iterdir()) == []


def test_nothing_is_printed_and_signal_handlers_stay_as_they_are(
    playbook: Write, local: Local, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    path = playbook("- hosts: all\n  gather_facts: false\n  tasks: [{debug: {msg: hello}}]\n")
    engine.run(str(path), local("a"), ["a"], {}, ignore)
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def sleeper() -> str:
    """A command that takes a minute, and is no other test's."""
    return f"sleep 61.{os.getpid()}{time.monotonic_ns()}"


def two_tasks(first: str) -> str:
    """A playbook whose second task leaves a file beside it."""
    return (
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        f"    - {{name: One, ansible.builtin.command: {first}}}\n"
        "    - {name: Two, ansible.builtin.command: 'touch {{ playbook_dir }}/two'}\n"
    )


@dataclass(frozen=True)
class AtWork:
    """The engine in a process of its own, at a task that takes a minute."""

    process: subprocess.Popen[str]
    playbook: Path
    sleeper: str
    tmp: Path

    def left_behind(self) -> list[object]:
        """Processes and folders that are still there."""
        running = processes_with(str(self.playbook)) + processes_with(self.sleeper)
        return [*running, *folders_of_runs(self.tmp)]


@pytest.fixture
def at_work(playbook: Write, local: Local, own_tmp: Path, driver: Driver, sleeper: str) -> AtWork:
    path = playbook(two_tasks(sleeper))
    process = driver(path, local("a"), ["a"])
    until(lambda: processes_with(sleeper))
    return AtWork(process, path, sleeper, own_tmp)


class BrokenViewError(Exception):
    """What a listener may raise."""


def test_a_listener_that_fails_stops_ansible_and_is_heard(
    playbook: Write, local: Local, own_tmp: Path, sleeper: str
) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, HostStarted):
            until(lambda: processes_with(sleeper))
            raise BrokenViewError

    path = playbook(two_tasks(sleeper))
    with pytest.raises(BrokenViewError):
        engine.run(str(path), local("a"), ["a"], {}, fail)
    assert processes_with(str(path)) == []
    assert processes_with(sleeper) == []
    assert folders_of_runs(own_tmp) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "interrupted: Interrupted. This may still be running there: a (One)."),
        (signal.SIGTERM, "terminated"),
    ],
)
def test_an_interrupted_run_stops_ansible_within_seconds(
    at_work: AtWork, number: signal.Signals, words: str
) -> None:
    began = time.monotonic()
    at_work.process.send_signal(number)
    output, _ = at_work.process.communicate()
    assert time.monotonic() - began < 15
    assert output.strip() == words
    assert at_work.process.returncode == 0, "the signal handlers were changed"
    assert at_work.left_behind() == []


def test_a_second_interrupt_does_not_keep_the_first_from_stopping_ansible(
    at_work: AtWork,
) -> None:
    while at_work.process.poll() is None:
        at_work.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert at_work.left_behind() == []


def test_after_a_killed_controller_no_further_task_runs_and_the_next_run_cleans_up(
    playbook: Write, local: Local, own_tmp: Path, driver: Driver, tmp_path: Path
) -> None:
    sleeper = f"sleep 3.{os.getpid()}"
    path = playbook(two_tasks(sleeper))
    process = driver(path, local("a"), ["a"])
    until(lambda: processes_with(sleeper))
    process.kill()
    process.wait()
    until(lambda: not processes_with(str(path)))
    assert not (tmp_path / "two").exists()
    (abandoned,) = folders_of_runs(own_tmp)
    short = playbook("- hosts: all\n  gather_facts: false\n  tasks: [{debug: }]\n")
    engine.run(str(short), local("a"), ["a"], {}, ignore)
    assert not abandoned.exists()


def test_a_slow_listener_neither_holds_ansible_up_nor_misses_anything(
    playbook: Write, local: Local, tmp_path: Path
) -> None:
    hosts = [f"h{i}" for i in range(4)]
    path = playbook(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        + "".join(f"    - {{name: T{i}, ansible.builtin.debug: }}\n" for i in range(10))
        + "    - {name: Last, ansible.builtin.command: 'touch {{ playbook_dir }}/last', "
        "run_once: true, delegate_to: h0}\n"
    )
    heard: list[Event] = []

    def listen(event: Event) -> None:
        if not heard:
            until((tmp_path / "last").exists)
        heard.append(event)

    outcome = engine.run(str(path), local(*hosts), hosts, {}, listen)
    assert all(host.ok for host in outcome.hosts.values())
    ended = [(e.host, e.task) for e in heard if isinstance(e, HostResult) and e.task != "Last"]
    assert sorted(ended) == [(host, f"T{i}") for host in hosts for i in range(10)]


def test_an_event_is_as_it_was_when_it_came(tmp_path: Path) -> None:
    play = engine._Play(tmp_path, {})
    raw = {"event": "verbose", "stdout": "one"}
    play._enqueue(raw)
    raw["stdout"] = "two"  # ansible-runner uses the dictionary again for the next line
    play._enqueue(raw)
    play._queue.put(None)
    assert list(play.events()) == [Message("info", "one"), Message("info", "two")]


EVIDENCE_PLUGIN = """
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"changed": False, "evidence": {"log": "x" * 3_000_000}}
"""


def test_evidence_of_any_size_comes_back_whole(
    playbook: Write, local: Local, tmp_path: Path
) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "look.py").write_text(EVIDENCE_PLUGIN)
    path = playbook("- hosts: all\n  gather_facts: false\n  tasks: [{name: Look, look: }]\n")
    outcome = engine.run(str(path), local("a"), ["a"], {}, ignore)
    assert outcome.hosts["a"].results == {"evidence": {"log": "x" * 3_000_000}}


def test_a_trial_run_changes_nothing_and_shows_what_it_would(
    playbook: Write, local: Local, tmp_path: Path
) -> None:
    path = playbook(
        "- hosts: all\n  gather_facts: false\n  tasks: [{name: Write, ansible.builtin.copy: "
        "{dest: '{{ playbook_dir }}/new', content: 'hello\n\n', mode: '0600'}}]\n"
    )
    events: list[Event] = []
    outcome = engine.run(str(path), local("a"), ["a"], {}, events.append, check=True, diff=True)
    assert outcome.hosts["a"].changed == 1
    assert not (tmp_path / "new").exists()
    (diff,) = [event for event in events if isinstance(event, FileDiff)]
    assert diff.host == "a"
    assert "+hello" in diff.text.splitlines()


def test_only_the_tags_that_are_asked_for_run(playbook: Write, local: Local) -> None:
    path = playbook(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - {name: Wanted, ansible.builtin.debug: , tags: [a]}\n"
        "    - {name: Not wanted, ansible.builtin.debug: , tags: [b]}\n"
    )
    events: list[Event] = []
    engine.run(str(path), local("a"), ["a"], {}, events.append, tags=["a"])
    assert {e.task for e in events if isinstance(e, HostResult)} == {"Wanted"}


def test_the_users_environment_cannot_break_a_run(
    playbook: Write, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ANSIBLE_STDOUT_CALLBACK": "no_such_callback",
        "JOB_ID": "build-7",
        "LC_ALL": "C",
        "PATH": "/usr/bin:/bin",
        "MAX_EVENT_RES": "10",
    }.items():
        monkeypatch.setenv(name, value)
    path = playbook("- hosts: all\n  gather_facts: false\n  tasks: [{debug: {msg: hello}}]\n")
    assert engine.run(str(path), local("a"), ["a"], {}, ignore).hosts["a"].ok


def test_what_ansible_warns_about_is_told(playbook: Write, local: Local) -> None:
    path = playbook(
        "- hosts: all\n  gather_facts: false\n  vars: {hosts: 1}\n  tasks: [{debug: }]\n"
    )
    events: list[Event] = []
    engine.run(str(path), local("a"), ["a"], {}, events.append)
    assert any(
        isinstance(e, Message) and e.level == "warning" and "reserved name" in e.text
        for e in events
    )


RAW = "- hosts: all\n  gather_facts: false\n  tasks: [{name: Look, ansible.builtin.raw: echo hi}]\n"


def test_an_unknown_host_key_is_refused_even_if_the_user_turned_checking_off(
    playbook: Write, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_SSH_HOST_KEY_CHECKING", "False")
    inventory = ssh_server.inventory(Path("/dev/null"), {"a": ""})
    outcome = engine.run(str(playbook(RAW)), inventory, ["a"], {}, ignore).hosts["a"]
    assert outcome.unreachable
    assert outcome.cause is Cause.HOST_KEY_UNKNOWN


def test_a_changed_host_key_is_refused_and_the_remedy_names_the_entry(
    playbook: Write, ssh_server: SshServer
) -> None:
    known_hosts = ssh_server.known_hosts(ssh_server.login.with_suffix(".pub"))
    inventory = ssh_server.inventory(known_hosts, {"a": ""})
    outcome = engine.run(str(playbook(RAW)), inventory, ["a"], {}, ignore).hosts["a"]
    assert outcome.cause is Cause.HOST_KEY_CHANGED
    assert f'ssh-keygen -f "{known_hosts}" -R "[127.0.0.1]:{ssh_server.port}"' in outcome.remedy
    assert "@@@" not in outcome.message


def test_connections_end_with_the_run(
    playbook: Write, ssh_server: SshServer, own_tmp: Path
) -> None:
    known_hosts = ssh_server.known_hosts(ssh_server.key.with_suffix(".pub"))
    inventory = ssh_server.inventory(known_hosts, {"a": "", "b": "ansible_user=nobody"})
    shared: list[list[int]] = []

    def look(event: Event) -> None:
        if isinstance(event, Stats):
            shared.append(processes_with(f"ssh: {own_tmp}"))

    outcome = engine.run(str(playbook(RAW)), inventory, ["a", "b"], {}, look)
    assert outcome.hosts["a"].ok
    assert outcome.hosts["b"].cause is Cause.PERMISSION_DENIED
    assert "nobody@127.0.0.1" in outcome.hosts["b"].remedy
    assert len(shared[0]) == 1
    assert processes_with(f"ssh: {own_tmp}") == []


def test_relative_paths_in_an_inventory_start_where_the_user_is(
    playbook: Write, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_hosts = ssh_server.known_hosts(ssh_server.key.with_suffix(".pub"))
    inventory = ssh_server.inventory(Path(known_hosts.name), {"a": ""})
    monkeypatch.chdir(ssh_server.folder)
    outcome = engine.run(str(playbook(RAW)), Path(inventory.name), ["a"], {}, ignore)
    assert outcome.hosts["a"].ok


def test_a_temporary_folder_with_a_long_name_leaves_room_for_sockets(
    playbook: Write, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    known_hosts = ssh_server.known_hosts(ssh_server.key.with_suffix(".pub"))
    inventory = ssh_server.inventory(known_hosts, {"a": ""})
    assert engine.run(str(playbook(RAW)), inventory, ["a"], {}, ignore).hosts["a"].ok


def test_the_arguments_for_ansible_runner_have_hosts_and_variables_in_files_only(
    tmp_path: Path,
) -> None:
    arguments = engine.runner_arguments(
        tmp_path,
        playbook=Path("/p/provision.yml"),
        inventory=Path("/i/hosts.yml"),
        extra_vars={"secret": SECRET},
        forks=7,
        tags=["driver", "docker"],
        cmdline="--check",
    )
    assert arguments["limit"] == f"@{tmp_path}/limit"
    assert arguments["tags"] == "driver,docker"
    assert (arguments["forks"], arguments["cmdline"]) == (7, "--check")
    on_the_command_line = {k: v for k, v in arguments.items() if k != "extravars"}
    assert SECRET not in json.dumps(on_the_command_line)
    assert arguments["envvars"]["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert "suppress_env_files" not in arguments
    assert Path(arguments["inventory"]).is_absolute()
