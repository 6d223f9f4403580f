"""A forward proxy that takes every name for one address: the way out of a network without names."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PORT = 3128
LIMIT_S = 60
CHUNK = 65536
# Headers that are of one connection and no further.
OF_A_HOP = ("connection", "keep-alive", "proxy-connection", "transfer-encoding")


@dataclass
class Proxy:
    """A running proxy; ``asked`` is every request that it passed on, as METHOD and URL or host."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def running(address: str) -> Iterator[Proxy]:
    """A proxy at ``address`` that finds every server there, too."""
    proxy = Proxy(f"http://{address}:{PORT}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.asked.append(f"GET {self.path}")
            url = urlsplit(self.path)
            server = http.client.HTTPConnection(address, url.port or 80, timeout=LIMIT_S)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in OF_A_HOP}
            with contextlib.closing(server):
                server.request("GET", url._replace(scheme="", netloc="").geturl(), headers=headers)
                self._pass_back(server.getresponse())

        def _pass_back(self, answer: http.client.HTTPResponse) -> None:
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (*OF_A_HOP, "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_CONNECT(self) -> None:
            proxy.asked.append(f"CONNECT {self.path}")
            port = int(self.path.rpartition(":")[2])
            with socket.create_connection((address, port), timeout=LIMIT_S) as server:
                self.send_response_only(200)
                self.end_headers()
                between(self.connection, server)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nobody watches."""

    with ThreadingHTTPServer((address, PORT), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def between(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either side sends, until one has no more to say."""
    while ready := select.select([one, other], [], [], LIMIT_S)[0]:
        for sender in ready:
            data = sender.recv(CHUNK)
            if not data:
                return
            (other if sender is one else one).sendall(data)
