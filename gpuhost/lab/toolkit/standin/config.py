"""/etc/nvidia-container-runtime/config.toml: its defaults, and reading and changing it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH = Path("/etc/nvidia-container-runtime/config.toml")

DEFAULT = """\
#accept-nvidia-visible-devices-as-volume-mounts = false
#accept-nvidia-visible-devices-envvar-when-unprivileged = true
disable-require = false
supported-driver-capabilities = "compat32,compute,display,graphics,ngx,utility,video"
#swarm-resource = "DOCKER_RESOURCE_GPU"

[nvidia-container-cli]
#debug = "/var/log/nvidia-container-toolkit.log"
environment = []
#ldcache = "/etc/ld.so.cache"
ldconfig = "@/sbin/ldconfig"
load-kmods = true
#no-cgroups = false
#path = "/usr/bin/nvidia-container-cli"
#root = "/run/nvidia/driver"
#user = "root:video"

[nvidia-container-runtime]
#debug = "/var/log/nvidia-container-runtime.log"
log-level = "info"
mode = "auto"
runtimes = ["runc", "crun"]

[nvidia-container-runtime.modes]

[nvidia-container-runtime.modes.cdi]
annotation-prefixes = ["cdi.k8s.io/"]
default-kind = "nvidia.com/gpu"
spec-dirs = ["/etc/cdi", "/var/run/cdi"]

[nvidia-container-runtime.modes.csv]
mount-spec-path = "/etc/nvidia-container-runtime/host-files-for-container.d"

[nvidia-container-runtime.modes.legacy]
cuda-compat-mode = "ldconfig"

[nvidia-container-runtime-hook]
path = "nvidia-container-runtime-hook"
skip-mode-detection = false

[nvidia-ctk]
path = "nvidia-ctk"
"""

SECTION = re.compile(r"\[([^\]]+)\]\s*$")
ENTRY = re.compile(r"(#?)\s*([A-Za-z0-9-]+)\s*=\s*(.*)$")


class ConfigError(ValueError):
    """A key or value that the configuration can't have; the text says which."""


def _entries(text: str) -> Iterator[tuple[int, str, bool, str]]:
    """Line number, full key, whether it is in force, and the value as written."""
    section = ""
    for number, line in enumerate(text.splitlines()):
        heading = SECTION.match(line)
        entry = ENTRY.match(line)
        if heading:
            section = heading.group(1) + "."
        elif entry:
            yield number, section + entry.group(2), not entry.group(1), entry.group(3)


def parse(text: str) -> dict[str, Any]:
    """The values in force, by full key ("nvidia-container-runtime.mode")."""
    values: dict[str, Any] = {}
    for _, key, in_force, written in _entries(text):
        if in_force:
            try:
                values[key] = json.loads(written)
            except ValueError as error:
                raise ConfigError(f"{key}: cannot read {written}") from error
    return values


def read(path: Path = PATH) -> dict[str, Any]:
    """The configuration in force on this host: the defaults and what the file says."""
    values = parse(DEFAULT)
    values["accept-nvidia-visible-devices-envvar-when-unprivileged"] = True
    if path.exists():
        values.update(parse(path.read_text(encoding="utf-8")))
    return values


def with_value(text: str, assignment: str) -> str:
    """The text with one ``key=value`` (``key`` alone for a boolean) in force.

    Raises:
        ConfigError: there is no such key, or the value has not its type.
    """
    key, separator, value = assignment.partition("=")
    defaults = {known: json.loads(written) for _, known, _, written in _entries(DEFAULT)}
    if key not in defaults:
        raise ConfigError(f"invalid config option: undefined field: {json.dumps(key)}")
    if not separator and not isinstance(defaults[key], bool):
        raise ConfigError(f"invalid format: expected key=value; got {assignment}")
    entry = f"{key.rpartition('.')[2]} = {_written(defaults[key], value or 'true')}"
    lines = text.splitlines()
    for number, known, _, _ in _entries(text):
        if known == key:
            lines[number] = entry
            return "\n".join(lines) + "\n"
    return _with_new_entry(lines, key.rpartition(".")[0], entry)


def _with_new_entry(lines: list[str], section: str, entry: str) -> str:
    heading = f"[{section}]"
    if not section:
        lines.insert(0, entry)
    elif heading in lines:
        lines.insert(lines.index(heading) + 1, entry)
    else:
        lines += ["", heading, entry]
    return "\n".join(lines) + "\n"


def _written(default: Any, value: str) -> str:
    if isinstance(default, bool):
        if value not in ("true", "false"):
            raise ConfigError(f"invalid format: {json.dumps(value)} is not a boolean")
        return value
    if isinstance(default, list):
        return "[" + ", ".join(json.dumps(item) for item in value.split(":")) + "]"
    return json.dumps(value)
