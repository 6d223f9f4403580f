"""The Docker Engine through docker-py: what is asked of it, and how its streams are read."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests
from support.probe import IMAGE

from gpuhost.probe import engine_api
from gpuhost.probe.engine_api import (
    STDERR,
    ContainerSpec,
    DeviceRequest,
    DockerEngine,
    EngineError,
    EngineTimeoutError,
    RefusedError,
    SocketStream,
    translated,
)


def frame(number: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", number, len(data)) + data


class TestStream:
    @pytest.fixture
    def ends(self) -> Iterator[tuple[socket.socket, SocketStream]]:
        theirs, ours = socket.socketpair()
        stream = SocketStream(ours)
        ours.close()
        with theirs:
            yield theirs, stream
            stream.close()

    def soon(self) -> float:
        return time.monotonic() + 5

    def test_frames_are_told_apart_by_their_stream(self, ends: Any) -> None:
        theirs, stream = ends
        theirs.sendall(frame(1, b"out") + frame(STDERR, b"err"))
        assert stream.read(self.soon()) == (1, b"out")
        assert stream.read(self.soon()) == (STDERR, b"err")

    def test_a_frame_that_comes_in_pieces_is_put_together(self, ends: Any) -> None:
        theirs, stream = ends
        whole = frame(1, b"x" * 100_000)

        def send() -> None:
            for start in range(0, len(whole), 7_001):
                theirs.sendall(whole[start : start + 7_001])

        sender = threading.Thread(target=send)
        sender.start()
        assert stream.read(self.soon()) == (1, b"x" * 100_000)
        sender.join()

    def test_the_end_is_none_also_within_a_frame(self, ends: Any) -> None:
        theirs, stream = ends
        theirs.sendall(frame(1, b"whole") + frame(1, b"cut")[:9])
        theirs.shutdown(socket.SHUT_WR)
        assert stream.read(self.soon()) == (1, b"whole")
        assert stream.read(self.soon()) is None

    def test_silence_ends_at_the_deadline(self, ends: Any) -> None:
        _, stream = ends
        began = time.monotonic()
        with pytest.raises(EngineTimeoutError):
            stream.read(began + 0.1)
        assert time.monotonic() - began < 5

    def test_what_is_said_arrives(self, ends: Any) -> None:
        theirs, stream = ends
        stream.say(b"\n")
        assert theirs.recv(9) == b"\n"

    def test_speaking_to_nobody_is_an_error(self, ends: Any) -> None:
        theirs, stream = ends
        theirs.close()
        with pytest.raises(EngineError):
            stream.say(b"\n")

    def test_closing_the_input_leaves_the_output_open(self, ends: Any) -> None:
        theirs, stream = ends
        stream.close_stdin()
        assert theirs.recv(1) == b""
        theirs.sendall(frame(1, b"late"))
        assert stream.read(self.soon()) == (1, b"late")

    def test_closing_twice_is_harmless(self, ends: Any) -> None:
        _, stream = ends
        stream.close()
        stream.close()


class Daemon:
    """A daemon that answers on a Unix socket with what it was told to, and keeps the requests."""

    def __init__(self, path: Path, answers: dict[str, tuple[int, Any]]) -> None:
        self.answers = {"/version": (200, {"ApiVersion": "1.45"}), **answers}
        self.requests: list[tuple[str, Any]] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline().decode():
                length = 0
                while header := stream.readline().strip():
                    name, _, value = header.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                body = json.loads(stream.read(length) or "null")
                self.requests.append((line.split()[1], body))
                path = line.split()[1].partition("?")[0].removeprefix("/v1.45")
                status, answer = self.answers.get(path, (404, {"message": f"no {path}"}))
                if status == 0:
                    threading.Event().wait(60)
                text = json.dumps(answer).encode()
                connection.sendall(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(text)}\r\n\r\n".encode()
                    + text
                )


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Neither of these may have a say.
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")

    def start(**answers: tuple[int, Any]) -> Daemon:
        path = tmp_path / "docker.sock"
        monkeypatch.setattr(engine_api, "SOCKET_URL", f"unix://{path}")
        return Daemon(path, {"/" + name.replace("_", "/"): a for name, a in answers.items()})

    return start


CREATED = (201, {"Id": "abc", "Warnings": []})


def host_config(daemon: Daemon) -> Any:
    return daemon.requests[-1][1]["HostConfig"]


class TestEngine:
    def create(self, daemon: Any, **changes: Any) -> Any:
        served = daemon(containers_create=CREATED)
        made = ContainerSpec(IMAGE, ["-c", "true"], {"gpuhost.trial": "1-2"}, **changes)
        assert engine_api.connect(5).create(made) == "abc"
        return served.requests[-1][1]

    def test_a_container_has_no_network_no_log_and_removes_itself(self, daemon: Any) -> None:
        body = self.create(daemon)
        assert body["HostConfig"]["NetworkMode"] == "none"
        assert body["HostConfig"]["AutoRemove"] is True
        assert body["HostConfig"]["LogConfig"]["Type"] == "none"
        assert body["Labels"] == {"gpuhost.trial": "1-2"}
        assert body["Entrypoint"] == ["/bin/sh"]
        assert body["Cmd"] == ["-c", "true"]
        assert not body["HostConfig"].get("DeviceRequests")

    @pytest.mark.parametrize(
        ("devices", "expected"),
        [
            (DeviceRequest("", ()), {"Count": -1, "Capabilities": [["gpu"]], "DeviceIDs": []}),
            (
                DeviceRequest("", ("0", "GPU-1")),
                {"Count": 0, "Capabilities": [["gpu"]], "DeviceIDs": ["0", "GPU-1"]},
            ),
            (
                DeviceRequest("cdi", ("nvidia.com/gpu=0",)),
                {"Count": 0, "Capabilities": [], "DeviceIDs": ["nvidia.com/gpu=0"]},
            ),
        ],
    )
    def test_devices_are_asked_for_as_the_command_line_does(
        self, daemon: Any, devices: DeviceRequest, expected: dict[str, Any]
    ) -> None:
        made = self.create(daemon, devices=devices)["HostConfig"]["DeviceRequests"]
        assert len(made) == 1
        assert {key: made[0][key] for key in expected} == expected
        assert made[0]["Driver"] == devices.driver

    def test_the_runtime_path_names_the_runtime_and_the_variable(self, daemon: Any) -> None:
        environment = {"NVIDIA_VISIBLE_DEVICES": "0,2"}
        body = self.create(daemon, runtime="nvidia", environment=environment)
        assert body["HostConfig"]["Runtime"] == "nvidia"
        assert body["Env"] == ["NVIDIA_VISIBLE_DEVICES=0,2"]

    def test_a_container_ends_when_its_input_does(self, daemon: Any) -> None:
        body = self.create(daemon)
        assert body["OpenStdin"]
        assert body["StdinOnce"]

    def test_a_refusal_has_the_daemons_own_words(self, daemon: Any) -> None:
        words = 'could not select device driver "" with capabilities: [[gpu]]'
        daemon(containers_abc_start=(500, {"message": words}))
        with pytest.raises(RefusedError) as caught:
            engine_api.connect(5).start("abc")
        assert str(caught.value) == words

    def test_a_daemon_that_is_silent_is_a_time_out(self, daemon: Any) -> None:
        daemon(containers_abc_start=(0, None))
        with pytest.raises(EngineTimeoutError):
            engine_api.connect(0.2).start("abc")

    def test_attaching_to_a_silent_daemon_is_bounded_too(self, daemon: Any) -> None:
        daemon(containers_abc_attach=(0, None))
        with pytest.raises(EngineTimeoutError):
            engine_api.connect(0.2).attach("abc")

    def test_no_daemon_is_an_error_with_the_kernels_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_api, "SOCKET_URL", f"unix://{tmp_path}/none.sock")
        with pytest.raises(EngineError, match="No such file or directory"):
            engine_api.connect(1)

    def test_an_image_that_is_not_there_is_none(self, daemon: Any) -> None:
        daemon()
        assert engine_api.connect(5).image("nvidia/cuda:none") is None

    def test_removing_what_is_gone_is_no_error(self, daemon: Any) -> None:
        daemon()
        engine_api.connect(5).remove("abc")

    def test_our_containers_are_found_by_label_running_or_not(self, daemon: Any) -> None:
        served = daemon(containers_json=(200, [{"Id": "1"}]))
        assert engine_api.connect(5).labelled("gpuhost.trial") == [{"Id": "1"}]
        assert "all=1" in served.requests[-1][0]
        assert "gpuhost.trial" in served.requests[-1][0]

    def test_a_pull_that_fails_after_it_began_is_refused_with_the_registrys_words(self) -> None:
        class Client:
            def pull(self, *_: Any, **__: Any) -> Any:
                return iter([{"status": "Pulling"}, {"error": "unauthorized: access denied"}])

        with pytest.raises(RefusedError, match="unauthorized: access denied"):
            DockerEngine(Client()).pull("nvcr.io/x:1")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (docker.errors.APIError("500", explanation="no"), RefusedError),
        (requests.exceptions.ReadTimeout("slow"), EngineTimeoutError),
        (TimeoutError("slow"), EngineTimeoutError),
        (PermissionError(13, "Permission denied"), EngineError),
        (docker.errors.DockerException("odd"), EngineError),
        (requests.exceptions.ConnectionError("gone"), EngineError),
    ],
)
def test_docker_pys_errors_are_told_apart(raised: Exception, expected: type[EngineError]) -> None:
    with pytest.raises(EngineError) as caught, translated():
        raise raised
    assert type(caught.value) is expected
