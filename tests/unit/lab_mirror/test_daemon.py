import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import daemon
from gpuhost.lab.daemon import Daemon
from gpuhost.lab.state import boot_id, write_json

SERVE = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.fixture
def port() -> int:
    return daemon.free_port("127.0.0.1")


class Room:
    """A state folder and a free port."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port

    def ensure(self, program: str = SERVE, version: str = "") -> Daemon:
        argv = [sys.executable, "-c", program, str(self.port)]
        return daemon.ensure(
            "it", argv, state=self.state, address="127.0.0.1", port=self.port, version=version
        )


@pytest.fixture
def room(tmp_path: Path, port: int) -> Iterator[Room]:
    yield Room(tmp_path, port)
    daemon.stop(tmp_path, "it")


def test_a_daemon_that_runs_is_kept(room: Room) -> None:
    first = room.ensure()
    assert daemon.is_running(first)
    assert room.ensure() == first
    assert daemon.recorded(room.state, "it") == first


def test_it_has_a_session_of_its_own_and_its_output_goes_to_a_log(room: Room) -> None:
    started = room.ensure()
    assert os.getsid(started.pid) == started.pid
    assert Path(started.log).read_text() == "listening\n"


def test_another_version_of_it_replaces_it(room: Room) -> None:
    first = room.ensure(version="1")
    second = room.ensure(version="2")
    assert second.pid != first.pid
    assert not daemon.is_running(first)


def test_one_that_died_is_started_again(room: Room) -> None:
    first = room.ensure()
    os.kill(first.pid, 9)
    os.waitpid(first.pid, 0)
    assert daemon.is_running(room.ensure())


def test_stopping_ends_it_and_stopping_again_is_harmless(room: Room) -> None:
    started = room.ensure()
    assert daemon.stop(room.state, "it")
    assert not daemon.is_running(started)
    assert not daemon.stop(room.state, "it")


def test_a_process_that_got_the_recorded_number_later_is_not_touched(room: Room) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = daemon.start_time(stranger.pid)
    assert started is not None
    for record in (
        Daemon("it", stranger.pid, started - 1, boot_id(), (), "", ""),
        Daemon("it", stranger.pid, started, "another boot", (), "", ""),
    ):
        write_json(room.state / "daemons/it.json", {**vars(record)})
        assert not daemon.stop(room.state, "it")
    assert stranger.poll() is None
    stranger.communicate(b"\n")


def test_a_zombie_does_not_count_as_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert daemon.start_time(child.pid) is None
    child.wait()


def test_one_that_cannot_start_is_explained_by_its_log(room: Room) -> None:
    with pytest.raises(LabError, match="no licence today") as error:
        room.ensure("import sys; sys.exit('no licence today')")
    assert "it.log" in error.value.remedy


def test_a_port_that_is_taken_is_explained(room: Room) -> None:
    with socket.create_server(("127.0.0.1", room.port)), pytest.raises(LabError) as error:
        room.ensure()
    assert "in use" in error.value.message
    assert str(room.port) in error.value.remedy


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no-such-program is not on this machine"):
        daemon.ensure("it", ["no-such-program"], state=tmp_path, address="127.0.0.1", port=1)


def test_a_free_port_is_not_one_that_an_outgoing_connection_may_get(port: int) -> None:
    lowest = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    assert 1024 < port < int(lowest)


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = Daemon("it", 1, 2, "boot", ("a", "b"), "v", "log")
    write_json(tmp_path / "daemons/it.json", {**vars(record)})
    assert daemon.recorded(tmp_path, "it") == record
    assert daemon.recorded(tmp_path, "other") is None
    assert not daemon.is_running(replace(record, boot_id=boot_id()))
