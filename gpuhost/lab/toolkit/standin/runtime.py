"""nvidia-container-runtime: edits the OCI spec on create, then becomes runc."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import cdi, config, fault, image, log, nvml, oci
from .host import DriverMissingError, Host, discover
from .release import Release, named
from .selection import ALL, Selection, UnknownDeviceError

HOOK_PATH = "/usr/bin/nvidia-container-runtime-hook"
SPEC_VERSION = "1.2.1"


class RequestError(Exception):
    """A container's request that can't be served; the text is what the log gets."""


class FailedGpuError(Exception):
    """A GPU that NVML can't describe; the text is what upstream says of it."""


NO_SPECIFICATION = (UnknownDeviceError, nvml.NvmlError, DriverMissingError, FailedGpuError)


# ------------------------------------------------------------------------- editing the spec


def modify(
    spec: dict[str, Any],
    settings: dict[str, Any],
    release: Release,
    find_host: Callable[[], Host],
    active_fault: str = "",
) -> None:
    """Give the container of ``spec`` what its environment asks for.

    Raises:
        RequestError: with upstream's words.
    """
    env = image.environment(spec)
    ids = image.visible_devices(env)
    if not ids or not _may_ask(spec, settings):
        return
    mode = settings["nvidia-container-runtime.mode"]
    if mode == "legacy":
        oci.add_prestart_hook(spec, HOOK_PATH)
        return
    oci.remove_prestart_hook(spec)
    if mode == "cdi" or all("=" in name for name in ids):
        edits = _edits_of_files(ids, settings)
    else:
        edits = _edits_of_now(ids, release, find_host, active_fault)
    for edit in edits:
        oci.apply(spec, edit)


def _may_ask(spec: dict[str, Any], settings: dict[str, Any]) -> bool:
    accepted = settings["accept-nvidia-visible-devices-envvar-when-unprivileged"]
    return bool(accepted) or image.is_privileged(spec)


def _edits_of_files(ids: Sequence[str], settings: dict[str, Any]) -> list[cdi.Edits]:
    """Edits from the specifications in the configured folders (mode cdi)."""
    kind = settings["nvidia-container-runtime.modes.cdi.default-kind"]
    names = [name if "=" in name else f"{kind}={name}" for name in ids]
    folders = settings["nvidia-container-runtime.modes.cdi.spec-dirs"]
    try:
        return cdi.read_registry(Path(folder) for folder in folders).edits(names)
    except cdi.UnresolvableError as error:
        raise RequestError(
            f"failed to inject CDI devices: unresolvable CDI devices {error}"
        ) from error


def _edits_of_now(
    ids: Sequence[str], release: Release, find_host: Callable[[], Host], active_fault: str
) -> list[cdi.Edits]:
    """Edits from a specification made just for this container (mode jit-cdi)."""
    try:
        host = find_host()
        refuse_failed_gpus(host, ids)
        selection = Selection(host.gpus, active_fault)
        devices = cdi.device_edits(host, selection, ids, release)
    except NO_SPECIFICATION as error:
        raise RequestError(
            "failed to create the automatic CDI modifier: "
            'failed to generate CDI spec for mode "auto": '
            f"failed to construct device spec generators: {reason(error)}"
        ) from error
    return [devices, cdi.common_edits(host, release, cdi.CTK_HOOK)]


def refuse_failed_gpus(host: Host, ids: Sequence[str]) -> None:
    """Raise FailedGpuError if one of ``ids`` means a GPU that NVML can't describe."""
    for index, text in host.failures.items():
        if str(index) in ids:
            raise FailedGpuError(f"failed to get device handle from index: {text}")
        if ALL in ids:
            raise FailedGpuError(
                "failed to get full GPU device editors: "
                f"error getting device handle for index '{index}': {text}"
            )


def reason(error: Exception) -> str:
    """Why no specification could be made, in upstream's words."""
    if isinstance(error, FailedGpuError):
        return str(error)
    if isinstance(error, UnknownDeviceError):
        return _no_such_device(str(error))
    if isinstance(error, (nvml.LibraryMissingError, DriverMissingError)):
        return "failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND"
    return f"failed to initialize NVML: {error}"


def _no_such_device(name: str) -> str:
    if name.isdigit():
        return "failed to get device handle from index: Invalid Argument"
    if ":" in name:
        return "failed to get MIG device handle from index: Not Found"
    if name.startswith(("GPU-", "MIG-")):
        return "failed to get device handle from UUID: Not Found"
    return f"identifier is not a valid UUID or index: {json.dumps(name)}"


# ------------------------------------------------------------------------------ the command


def main(version: str, argv: list[str]) -> NoReturn:
    """Serve one OCI command line."""
    release = named(version)
    settings = config.read()
    if any(word in ("--version", "-version", "-v") for word in argv[1:]):
        sys.stdout.write(
            f"NVIDIA Container Runtime version {version}\n"
            f"commit: lab-stand-in\nspec: {SPEC_VERSION}\n\n"
        )
        sys.stdout.flush()
    elif "create" in argv[1:]:
        _edit_bundle(argv, settings, release)
    _become_low_level_runtime(settings, argv)


def _edit_bundle(argv: list[str], settings: dict[str, Any], release: Release) -> None:
    path = Path(_option(argv, "bundle", "b") or ".") / "config.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    try:
        modify(spec, settings, release, discover, fault.switched_on())
    except RequestError as error:
        _fail(argv, settings, release.request_failure + str(error))
    except oci.MissingDeviceError as error:
        _fail(
            argv,
            settings,
            f"{release.request_failure}failed to inject CDI devices: failed to inject devices: "
            f'failed to stat CDI host device "{error}": no such file or directory',
        )
    path.write_text(json.dumps(spec, separators=(",", ":")), encoding="utf-8")


def _option(argv: list[str], *names: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``."""
    for number, word in enumerate(argv):
        flag, separator, value = word.partition("=")
        if flag.startswith("-") and flag.lstrip("-") in names:
            return value if separator else "".join(argv[number + 1 : number + 2]) or None
    return None


def _fail(argv: list[str], settings: dict[str, Any], message: str) -> NoReturn:
    """End with the reason on stderr and in the log that containerd reads it from."""
    is_json = _option(argv, "log-format") == "json"
    text = log.json_line("error", message) if is_json else log.line("error", message)
    for path in _log_files(argv, settings):
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
    log.Log().failure(message)
    sys.exit(1)


def _log_files(argv: list[str], settings: dict[str, Any]) -> tuple[Path, ...]:
    named_files = (_option(argv, "log"), settings.get("nvidia-container-runtime.debug"))
    return tuple(Path(name) for name in named_files if name)


def _become_low_level_runtime(settings: dict[str, Any], argv: list[str]) -> NoReturn:
    for name in settings["nvidia-container-runtime.runtimes"]:
        with contextlib.suppress(FileNotFoundError):
            os.execvp(name, [name, *argv[1:]])  # noqa: S606 - to become it is the point
    _fail(argv, settings, "failed to create NVIDIA Container Runtime: no low-level runtime found")
