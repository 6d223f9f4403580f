"""Serve a folder over HTTP to many clients at once.

Usage: server.py FOLDER ADDRESS PORT
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileHandler(SimpleHTTPRequestHandler):
    """Files as they are, over connections that apt may keep open."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send an open file; one on disk goes out without passing through this program."""
        outputfile.flush()
        self.connection.sendfile(source)


class FileServer(ThreadingHTTPServer):
    """One thread a connection, none of which holds up the end of the program."""

    daemon_threads = True
    request_queue_size = 128


def main(folder: str, address: str, port: str) -> None:
    """Serve until the process is ended."""
    with FileServer((address, int(port)), partial(FileHandler, directory=folder)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
