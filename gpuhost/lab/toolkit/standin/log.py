"""Log lines in the form of logrus, which the upstream programs use."""

from __future__ import annotations

import json
import sys
import time
from typing import NamedTuple


def line(level: str, message: str) -> str:
    """One log line with the time of now, in UTC."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f'time="{now}" level={level} msg={json.dumps(message, ensure_ascii=False)}\n'


def json_line(level: str, message: str) -> str:
    """The same as JSON, which containerd asks its runtimes for."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"level": level, "msg": message, "time": now}) + "\n"


class Log(NamedTuple):
    """A program's log, on stderr; a quiet one has errors only."""

    is_quiet: bool = False

    def info(self, message: str) -> None:
        """Log what was done."""
        self._write("info", message)

    def warning(self, message: str) -> None:
        """Log what is not as it should be."""
        self._write("warning", message)

    def failure(self, message: str) -> None:
        """Log what failed."""
        sys.stderr.write(line("error", message))

    def _write(self, level: str, message: str) -> None:
        if not self.is_quiet:
            sys.stderr.write(line(level, message))
