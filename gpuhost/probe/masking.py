"""Passwords in texts made unreadable, so that texts can be shown and kept."""

from __future__ import annotations

import re

USER_IN_URL = re.compile(r"(://)[^/\s@]+(@)")


def without_passwords(text: str) -> str:
    """The text without users and passwords in its URLs."""
    return USER_IN_URL.sub(r"\1***\2", text)
