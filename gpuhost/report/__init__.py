"""Reports: one run, written in several forms.

Every writer takes a :class:`~gpuhost.model.RunReport` and a text stream. All
of them are in ``WRITERS`` by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TextIO

from gpuhost.model import RunReport

Writer = Callable[[RunReport, TextIO], None]

FORMATS = ("table", "json", "junit", "html")


def _writer(name: str) -> Writer:
    def write(report: RunReport, stream: TextIO) -> None:
        # Imported when it is used: rich alone costs 70 ms.
        importlib.import_module(f"gpuhost.report.{name}").write(report, stream)

    return write


WRITERS: Mapping[str, Writer] = {name: _writer(name) for name in FORMATS}
