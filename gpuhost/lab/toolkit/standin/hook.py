"""nvidia-container-runtime-hook: the prestart hook that ``docker run --gpus`` makes dockerd add."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from . import config, container_cli, image
from .selection import NONE

USAGE = """\
Usage of nvidia-container-runtime-hook:

Commands:
  prestart
        run the prestart hook
  poststart
        no-op
  poststop
        no-op
"""
USAGE_EXIT_CODE = 2


class HookError(Exception):
    """Why the container must not start."""


def main(version: str, argv: list[str]) -> int:
    """Serve one call of the hook."""
    command = argv[1] if len(argv) > 1 else ""
    if command.lstrip("-") == "version":
        sys.stdout.write(f"NVIDIA Container Runtime Hook version {version}\n")
        return 0
    if command in ("poststart", "poststop"):
        return 0
    if command != "prestart":
        sys.stderr.write(USAGE)
        return USAGE_EXIT_CODE
    try:
        return _prestart(version, json.load(sys.stdin), config.read())
    except (HookError, image.CapabilityError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _prestart(version: str, state: dict[str, Any], settings: dict[str, Any]) -> int:
    bundle = Path(state["bundle"])
    spec = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    arguments = configure_arguments(spec, settings)
    if arguments is None:
        return 0
    _require_legacy_mode(settings)
    rootfs = bundle / spec["root"]["path"]
    arguments += [f"--pid={state['pid']}", str(rootfs)]
    path = settings.get("nvidia-container-cli.path")
    if path:
        os.execv(path, [path, *arguments])  # noqa: S606 - as upstream's hook does
    # In this process, where upstream executes the program: it saves an interpreter's start.
    return container_cli.main(version, ["nvidia-container-cli", *arguments])


def _require_legacy_mode(settings: dict[str, Any]) -> None:
    mode = settings["nvidia-container-runtime.mode"]
    if settings["nvidia-container-runtime-hook.skip-mode-detection"]:
        return
    if mode in ("auto", "legacy"):
        sys.stderr.write("Auto-detected mode as 'legacy'\n" if mode == "auto" else "")
        return
    raise HookError(
        f"Using requested mode '{mode}'\n"
        "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus "
        "flag) is not supported. Please use the NVIDIA Container Runtime (e.g. specify the "
        "--runtime=nvidia flag) instead"
    )


def configure_arguments(spec: dict[str, Any], settings: dict[str, Any]) -> list[str] | None:
    """The arguments of nvidia-container-cli for a container; None if it asks for no GPU."""
    env = image.environment(spec)
    ids = image.visible_devices(env)
    if not ids:
        return None
    if not (
        settings["accept-nvidia-visible-devices-envvar-when-unprivileged"]
        or image.is_privileged(spec)
    ):
        return None
    arguments = ["--load-kmods"] if settings["nvidia-container-cli.load-kmods"] else []
    arguments += ["configure", f"--ldconfig={settings['nvidia-container-cli.ldconfig']}"]
    if settings.get("nvidia-container-cli.no-cgroups"):
        arguments.append("--no-cgroups")
    if NONE not in ids:
        arguments.append(f"--device={','.join(ids)}")
    supported = settings["supported-driver-capabilities"].split(",")
    arguments += [f"--{name}" for name in sorted(image.capabilities(env, supported))]
    if not settings["disable-require"]:
        arguments += [f"--require={expression}" for expression in image.requirements(env)]
    return arguments
