"""What a parser says when it is given something else."""

from __future__ import annotations

SHOWN_CHARACTERS = 400


class ParseError(ValueError):
    """Text that is not what it was taken for.

    ``what`` names what was expected; ``text`` is the part that was not
    understood, cut to a length that can be shown.
    """

    def __init__(self, what: str, reason: str, text: str = "") -> None:
        self.what = what
        self.reason = reason
        self.text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
        shown = f": {self.text!r}" if text else ""
        super().__init__(f"not {what}: {reason}{shown}")
