"""Edits of an OCI runtime specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .host import DeviceNode, device_node

Spec = dict[str, Any]
HOOK_NAMES = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")


class MissingDeviceError(Exception):
    """A device node of a CDI specification that the host does not have; the text is its path."""


def apply(
    spec: Spec,
    edits: dict[str, Any],
    find_node: Callable[[str], DeviceNode | None] = device_node,
) -> None:
    """Apply the containerEdits of a CDI specification to ``spec``, as CDI defines it."""
    process = spec.setdefault("process", {})
    process["env"] = (process.get("env") or []) + (edits.get("env") or [])
    for node in edits.get("deviceNodes") or []:
        _add_device(spec, _completed(node, find_node))
    for hook in edits.get("hooks") or []:
        _add_hook(spec, hook)
    for mount in edits.get("mounts") or []:
        _add_mount(spec, mount)
    if spec.get("mounts"):
        spec["mounts"].sort(key=lambda mount: mount["destination"].rstrip("/").count("/"))


def _completed(
    node: dict[str, Any], find_node: Callable[[str], DeviceNode | None]
) -> dict[str, Any]:
    path = node.get("hostPath", node["path"])
    if "major" in node:
        return {"minor": 0, **node}
    found = find_node(path)
    if found is None:
        raise MissingDeviceError(path)
    return {**node, "major": found.major, "minor": found.minor, "fileMode": found.mode}


def _add_device(spec: Spec, node: dict[str, Any]) -> None:
    linux = spec.setdefault("linux", {})
    device = {
        "path": node["path"],
        "type": node.get("type", "c"),
        "major": node["major"],
        "minor": node["minor"],
        "fileMode": node.get("fileMode", 0o666),
    }
    user = spec["process"].get("user") or {}
    device.update({key: user[key] for key in ("uid", "gid") if user.get(key)})
    others = [other for other in linux.get("devices") or [] if other["path"] != node["path"]]
    linux["devices"] = [*others, device]
    resources = linux.setdefault("resources", {})
    rule = {
        "allow": True,
        "type": device["type"],
        "major": node["major"],
        "minor": node["minor"],
        "access": node.get("permissions", "rwm"),
    }
    resources["devices"] = [*(resources.get("devices") or []), rule]


def _add_hook(spec: Spec, hook: dict[str, Any]) -> None:
    entry = {key: hook[key] for key in ("path", "args", "env", "timeout") if hook.get(key)}
    _hooks(spec, hook["hookName"]).append(entry)


def _hooks(spec: Spec, stage: str) -> list[dict[str, Any]]:
    if not spec.get("hooks"):
        spec["hooks"] = {}
    hooks: list[dict[str, Any]] = spec["hooks"].setdefault(stage, [])
    return hooks


def _add_mount(spec: Spec, mount: dict[str, Any]) -> None:
    destination = mount["containerPath"]
    others = [m for m in spec.get("mounts") or [] if m["destination"] != destination]
    entry = {"destination": destination, "source": mount["hostPath"], "options": mount["options"]}
    spec["mounts"] = [*others, entry]


def _is_nvidia_hook(hook: dict[str, Any]) -> bool:
    return str(hook.get("path", "")).rpartition("/")[2] in HOOK_NAMES


def remove_prestart_hook(spec: Spec) -> None:
    """Take out the hook that ``docker run --gpus`` put in."""
    prestart = (spec.get("hooks") or {}).get("prestart")
    if prestart:
        spec["hooks"]["prestart"] = [hook for hook in prestart if not _is_nvidia_hook(hook)]
        if not spec["hooks"]["prestart"]:
            del spec["hooks"]["prestart"]


def add_prestart_hook(spec: Spec, path: str) -> None:
    """Put the prestart hook in unless it is there: how the legacy mode serves a container."""
    prestart = _hooks(spec, "prestart")
    if not any(_is_nvidia_hook(hook) for hook in prestart):
        name = path.rpartition("/")[2]
        prestart.insert(0, {"path": path, "args": [name, "prestart"]})
