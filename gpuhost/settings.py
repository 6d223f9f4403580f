"""Where gpuhost looks and keeps things: flag > ``GPUHOST_*`` > ``gpuhost.toml`` > default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gpuhost.errors import UsageError
from gpuhost.suggest import did_you_mean

CONFIG_NAME = "gpuhost.toml"
DEFAULT_FORKS = 10
DEFAULT_KEEP_DAYS = 90


@dataclass(frozen=True)
class Settings:
    """What holds for one command.

    ``project`` is the folder that relative paths start from: the nearest one
    upwards that has a ``gpuhost.toml`` or an ``inventories`` folder, else the
    current one. ``inventory`` None means: look in ``project/inventories``.
    ``keep_days`` is how long runs are kept, ``notify`` the URLs (as Apprise
    writes them) that are told of transitions, ``textfile`` the file that
    Prometheus' node exporter is to read (None writes none), and ``mlflow``
    the URI of an MLflow tracking server.
    """

    project: Path
    inventory: Path | None
    state_dir: Path
    forks: int
    keep_days: int = DEFAULT_KEEP_DAYS
    notify: tuple[str, ...] = ()
    textfile: Path | None = None
    mlflow: str = ""

    @property
    def runs_dir(self) -> Path:
        """The folder with one sub-folder a run."""
        return self.state_dir / "runs"


PATHS = ("inventory", "state_dir", "textfile")
SETTING_NAMES = tuple(f.name for f in fields(Settings) if f.name != "project")


def find_project(start: Path) -> Path:
    """The project folder that ``start`` belongs to."""
    for folder in (start, *start.parents):
        if (folder / CONFIG_NAME).is_file() or (folder / "inventories").is_dir():
            return folder
    return start


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/gpuhost``, by default ``~/.local/state/gpuhost``."""
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "gpuhost"


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a ``gpuhost.toml``; a misspelt name is an error."""
    try:
        config = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "Correct the file.") from error
    for name in config:
        if name not in SETTING_NAMES:
            raise UsageError(
                f"{path}: there is no setting {name!r}.{did_you_mean(name, SETTING_NAMES)}",
                f"Settings are: {', '.join(SETTING_NAMES)}.",
            )
    return config


def load(
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Settings from all four places; ``flags`` holds None for a flag not given."""
    environ = os.environ if environ is None else environ
    project = find_project(cwd or Path.cwd())
    config_path = project / CONFIG_NAME
    config = read_config(config_path) if config_path.is_file() else {}

    def setting(name: str) -> Any:
        if flags.get(name) is not None:
            return flags[name]
        if environ.get(f"GPUHOST_{name.upper()}"):
            return environ[f"GPUHOST_{name.upper()}"]
        value = config.get(name)
        is_path = name in PATHS
        return project / value if value is not None and is_path else value

    inventory, textfile = setting("inventory"), setting("textfile")
    return Settings(
        project=project,
        inventory=Path(inventory) if inventory is not None else None,
        state_dir=Path(setting("state_dir") or default_state_dir(environ)),
        forks=_count("forks", setting("forks"), DEFAULT_FORKS),
        keep_days=_count("keep_days", setting("keep_days"), DEFAULT_KEEP_DAYS),
        notify=_urls(setting("notify")),
        textfile=Path(textfile) if textfile is not None else None,
        mlflow=str(setting("mlflow") or ""),
    )


def _count(name: str, value: Any, default: int) -> int:
    if value is None:
        return default
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise UsageError(f"{name} must be a whole number from 1, not {value!r}.", "Correct it.")
    return count


def _urls(value: Any) -> tuple[str, ...]:
    """URLs from a list, or from words with spaces in between, as an environment variable has."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list | tuple) and all(isinstance(url, str) for url in value):
        return tuple(value)
    raise UsageError("notify must be a list of URLs.", 'Write: notify = ["mailto://…", …]')
