"""How the text of a file changes."""

from __future__ import annotations

from difflib import unified_diff

from gpuhost.probe.masking import without_passwords

ABSENT = "/dev/null"


def text_diff(path: str, before: str | None, after: str | None) -> str:
    """A unified diff; None stands for no file. Passwords in URLs are not shown."""
    lines = unified_diff(
        without_passwords(before or "").splitlines(),
        without_passwords(after or "").splitlines(),
        ABSENT if before is None else path,
        ABSENT if after is None else path,
        lineterm="",
    )
    return "\n".join(lines)
