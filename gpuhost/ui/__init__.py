"""What a person sees while a command works: a live view on a terminal, plain lines elsewhere.

Everything here goes to standard error; results go to standard output.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from gpuhost.ui.base import Ui
from gpuhost.ui.plain import PlainUi

__all__ = ["PlainUi", "Ui", "choose"]


def choose(stream: TextIO | None = None, *, quiet: bool = False) -> Ui:
    """The view that suits ``stream``, by default standard error."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Ui()
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        from gpuhost.ui.live import LiveUi  # noqa: PLC0415  (rich costs 70 ms)

        return LiveUi(stream)
    return PlainUi(stream)
