"""Whether a workload's answers are the right ones, and the asking by HTTP."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import roles

probes = roles.util("workload_probes")
project = roles.util("compose_project")


def wrong(probe: dict[str, Any], **answer: Any) -> list[str]:
    return list(probes.judge({"name": "p", **probe}, probes.Answer(**answer)).wrong)


@pytest.mark.parametrize(
    ("asked", "text", "words"),
    [
        ({}, "", ""),
        ({"text": "^ok$"}, "so\n ok \n", ""),
        ({"text": "^ok$"}, "not ok", "no line of the answer is like ^ok$"),
        ({"json": {"status": "Healthy"}}, '{"status": "Healthy"}', ""),
        ({"json": {"status": "Healthy"}}, '{"status": "Ill"}', 'status is "Ill"'),
        ({"json": {"a.1.b": 3}}, '{"a": [0, {"b": 3}]}', ""),
        ({"json": {"a.2.b": 3}}, '{"a": [0, {"b": 3}]}', "has no a.2.b"),
        ({"json": {"a": None}}, "{}", "has no a"),
        ({"json": {"a": 1}}, "<html>", "no JSON"),
    ],
)
def test_an_answer_by_http_is_held_to_what_is_wanted(
    asked: dict[str, Any], text: str, words: str
) -> None:
    found = wrong({"http": {"port": 1, **asked}}, status=200, text=text)
    assert (words in found[0]) if words else (found == [])


def test_another_status_is_wrong_and_may_be_the_one_that_is_wanted() -> None:
    assert wrong({"http": {"port": 1}}, status=503) == ["the HTTP status is 503, and was to be 200"]
    assert wrong({"http": {"port": 1, "status": 401}}, status=401) == []


def test_programs_logs_and_files() -> None:
    assert wrong({"exec": {"output": "^7$"}}, status=0, text="7\n") == []
    assert wrong({"exec": {"output": "^7$"}}, status=0, text="8") != []
    assert "exit code 3" in wrong({"exec": {}}, status=3)[0]
    (told,) = wrong({"exec": {}}, status=1, text="first\nOSError: it is full\n")
    assert told == "the program ended with exit code 1: OSError: it is full"
    assert wrong({"log": "^fell"}, text="it\nfell\n") == []
    assert wrong({"log": "^fell"}, text="rose") != []
    assert wrong({"file": {"minimum_bytes": 10}}, status=10) == []
    assert wrong({"file": {"minimum_bytes": 10}}, status=9) != []
    assert wrong({"file": {}}, problem="/x: No such file") == ["/x: No such file"]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent; /fail with an error, /garbage not in HTTP."""

    def do_GET(self) -> None:
        self._say(503 if self.path == "/fail" else 200, b"got")

    def do_POST(self) -> None:
        if self.path == "/garbage":
            self.wfile.write(b"\0\0\0\0")
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(200, body + b" " + self.headers.get("X-Key", "").encode())

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def ask(tmp_path: Path, **asked: Any) -> Any:
    return probes.ask(project.Project(tmp_path.name, tmp_path.parent), {"name": "p", "http": asked})


def test_http_is_asked_with_body_headers_and_method(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "cat.bin").write_bytes(b"cat")
    assert ask(tmp_path, port=port).text == "got"
    assert ask(tmp_path, port=str(port), body="x", headers={"X-Key": 7}).text == "x 7"
    assert ask(tmp_path, port=port, body_file="cat.bin").text == "cat "
    assert ask(tmp_path, port=port, path="/fail").status == 503


def test_where_nobody_or_something_else_answers_the_problem_is_told(
    tmp_path: Path, port: int
) -> None:
    assert "does not answer" in ask(tmp_path, port=1).problem
    assert "not in HTTP" in ask(tmp_path, port=port, path="/garbage", body="x").problem


def test_what_a_container_said_that_ended_at_the_start_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def docker(argv: list[str], otherwise: str, *_: float) -> str:
        if "up" in argv:
            raise project.TroubleError(otherwise, 'service "archiver" did not complete')
        if "config" in argv:
            return '{"services": {}}'
        return "shapes.mar is broken\n" if "logs" in argv else ""

    monkeypatch.setattr(project, "docker", docker)
    with pytest.raises(project.TroubleError) as trouble:
        project.Project(tmp_path.name, tmp_path.parent).start([], [])
    assert trouble.value.words.splitlines()[-1] == "shapes.mar is broken"
