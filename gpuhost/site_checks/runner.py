"""Running a site's checks: one pytest a host, over Ansible's own settings, each within a limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from gpuhost import ansible_env, processes
from gpuhost.model import CheckResult
from gpuhost.site_checks.results import Line, results, unusable
from gpuhost.site_checks.told import PLACE

FOLDER = "site_checks"
LIMIT_S = 300.0
NO_TESTS = 5


def folder_of(inventory: Path) -> Path | None:
    """Where the checks of an inventory's site lie: beside it. None if there are none."""
    folder = inventory.parent / FOLDER
    return folder if any(folder.glob("test_*.py")) else None


def examine(
    folder: Path,
    inventory: Path | None,
    hosts: Iterable[str],
    *,
    forks: int,
    limit_s: float = LIMIT_S,
) -> Mapping[str, tuple[CheckResult, ...]]:
    """The results of each host, by name. Without an inventory the host is this machine."""
    names = list(hosts)
    with ThreadPoolExecutor(max_workers=max(1, min(forks, len(names)))) as pool:
        found = pool.map(lambda name: _examine(folder, inventory, name, limit_s), names)
        return dict(zip(names, found, strict=True))


def _examine(
    folder: Path, inventory: Path | None, host: str, limit_s: float
) -> tuple[CheckResult, ...]:
    with tempfile.TemporaryDirectory(prefix="gpuhost-site-") as scratch:
        place = Path(scratch)
        try:
            code, printed = _pytest(_command(folder, inventory, host), place, limit_s)
        finally:
            processes.end(processes.connections, place)
        said = "local" if inventory is None else f"ansible://{host}"
        late = f"was not heard of again within {limit_s:g} s"
        found = results(_lines(place / "results"), folder, said, late)
    if not found and code != NO_TESTS:
        command = "python -m pytest " + str(folder)
        return (unusable(printed.strip() or "it printed nothing", f"Try by hand: {command}"),)
    return found


def _command(folder: Path, inventory: Path | None, host: str) -> list[str]:
    target = (
        ["--hosts=local://"]
        if inventory is None
        else [f"--hosts=ansible://{host}", f"--ansible-inventory={inventory}"]
    )
    # Neither the site's nor anybody's pytest settings and plugins have a say.
    options = [
        "-q",
        "--continue-on-collection-errors",
        "-c",
        os.devnull,
        f"--rootdir={folder}",
        "-p",
        "no:cacheprovider",
    ]
    plugins = ["-p", "testinfra.plugin", "-p", "gpuhost.site_checks.plugin"]
    return [sys.executable, "-m", "pytest", *options, *plugins, *target, str(folder)]


def _pytest(command: list[str], place: Path, limit_s: float) -> tuple[int | None, str]:
    """The exit status, None where the time was up, and what was printed."""
    process = subprocess.Popen(
        command,
        env=_environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        # With all that the checks started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return process.returncode, printed


def _environment(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **kept,
        **ansible_env.variables(),
        PLACE: str(place / "results"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # As the probe works on the host, and over one connection that nobody has to type into.
        "ANSIBLE_BECOME": "true",
        "ANSIBLE_SSH_EXTRA_ARGS": f"-o BatchMode=yes -o ControlPath={place}/%C",
    }


def _lines(path: Path) -> list[Line]:
    lines: list[Line] = []
    with suppress(FileNotFoundError):
        for text in path.read_text(encoding="utf-8").splitlines():
            # The last line of a run that was killed may be half a line.
            with suppress(ValueError):
                lines.append(json.loads(text))
    return lines
