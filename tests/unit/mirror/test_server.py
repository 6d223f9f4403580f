import http.client
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuhost.lab import daemon
from gpuhost.mirror import server

PROGRAM = Path(server.__file__)
SIZE = 3_000_000


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = daemon.free_port("127.0.0.1")
    root = tmp_path / "root"
    (root / "pool").mkdir(parents=True)
    (root / "pool/tini_0.19~1+b8_amd64.deb").write_bytes(b"x" * SIZE)
    argv = [sys.executable, "-P", str(PROGRAM), str(root), "127.0.0.1", str(port)]
    daemon.ensure("files", argv, state=tmp_path, address="127.0.0.1", port=port)
    yield port
    daemon.stop(tmp_path, "files")


def test_one_connection_serves_several_files(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/pool/tini_0.19~1+b8_amd64.deb")
        assert len(connection.getresponse().read()) == SIZE
    connection.request("GET", "/absent")
    assert connection.getresponse().status == 404


def test_an_unchanged_file_is_not_sent_again(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    path = "/pool/tini_0.19~1%2bb8_amd64.deb"
    connection.request("HEAD", path)
    head = connection.getresponse()
    head.read()
    modified = head.headers["Last-Modified"]
    connection.request("GET", path, headers={"If-Modified-Since": modified})
    assert connection.getresponse().status == 304


def test_an_idle_client_does_not_hold_up_another(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        test_one_connection_serves_several_files(port)


def test_folders_are_listed(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/pool/")
    assert b"tini_0.19" in connection.getresponse().read()


def test_many_clients_are_served_at_once(port: int) -> None:
    sizes: list[int] = []

    def fetch() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/pool/tini_0.19~1+b8_amd64.deb")
        sizes.append(len(connection.getresponse().read()))

    threads = [threading.Thread(target=fetch) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sizes == [SIZE] * 20
