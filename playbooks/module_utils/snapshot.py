"""What of a host's state gpuhost changes other than by writing files, in plain dictionaries."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.driver_state import is_loaded, run

UNITS = Path("/etc/systemd/system")
# Which stream of dnf's modules is enabled, where one is.
STREAM = Path("/etc/dnf/modules.d/nvidia-driver.module")
# What rpm has in several versions at once, each of which comes and goes by itself. Keys are there
# as packages of this name, and no package manager but rpm itself removes them.
KEY = "gpg-pubkey"
SIDE_BY_SIDE = re.compile(rf"{KEY}|kernel(-core|-modules.*|-devel)?")


def packages() -> dict[str, str]:
    """The installed packages, each with its version."""
    return {name: version for name, (version, _) in _selections().items()}


def held() -> list[str]:
    """The packages that are held at their version."""
    return sorted(name for name, (_, want) in _selections().items() if want == "hold")


def _selections() -> dict[str, tuple[str, str]]:
    if not shutil.which("dpkg-query"):
        listed = run("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{EVR}\n")[1].splitlines()
        return {
            f"{name}-{plain}" if SIDE_BY_SIDE.fullmatch(name) else name: (version, "")
            for name, plain, version in map(str.split, listed)
        }
    fields = "${db:Status-Want} ${db:Status-Status} ${Version} ${binary:Package}\n"
    rows = [line.split() for line in run("dpkg-query", "-W", "-f", fields)[1].splitlines()]
    # Removed packages whose configuration stays are listed too.
    return {row[3]: (row[2], row[0]) for row in rows if row[1] != "config-files" and len(row) == 4}  # noqa: PLR2004


def automatic() -> list[str]:
    """The packages that apt installed for others, and may remove with them."""
    return run("apt-mark", "showauto")[1].split() if shutil.which("apt-mark") else []


def groups(root: Path = Path("/")) -> dict[str, list[str]]:
    """The host's own groups and their members."""
    lines = (root / "etc/group").read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines if line.count(":") == 3]  # noqa: PLR2004
    return {row[0]: [name for name in row[3].split(",") if name] for row in rows}


def unit_links(folder: Path = UNITS) -> list[str]:
    """The links by which units are enabled."""
    return sorted(str(path) for path in folder.rglob("*") if path.is_symlink())


def stream() -> str | None:
    """The driver's stream as dnf notes it; ``None`` where it never enabled one."""
    return STREAM.read_text(encoding="utf-8") if STREAM.exists() else None


def baseline() -> dict[str, Any]:
    """What has to be there again when gpuhost is removed, as far as it is not in the history."""
    return {
        "held": held(),
        "automatic": automatic(),
        "groups": sorted(groups()),
        "unit_links": unit_links(),
        "nouveau_loaded": is_loaded("nouveau"),
        "stream": stream(),
    }


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str | None]]:
    """The packages that differ, each with its old and its new version."""
    return {
        name: [before.get(name), after.get(name)]
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }
