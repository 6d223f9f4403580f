"""CDI: the specification of this host's GPUs, and the specifications that are in its folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import fault as faults
from . import yamlio
from .host import DeviceNode, Host
from .release import Release
from .selection import ALL, Selection

KIND = "nvidia.com/gpu"
CDI_VERSION = "0.5.0"
SPEC_DIRS = (Path("/etc/cdi"), Path("/var/run/cdi"))
FILE_OPTIONS = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
SOCKET_OPTIONS = ["nosuid", "nodev", "rbind", "rprivate", "noexec"]
UNKNOWN_NAMES_SERVED = 128

Edits = dict[str, Any]


class HookCommand(NamedTuple):
    """The program that serves the hooks, and its first arguments."""

    path: str
    arguments: tuple[str, ...]


CDI_HOOK = HookCommand("/usr/bin/nvidia-cdi-hook", ("nvidia-cdi-hook",))
CTK_HOOK = HookCommand("/usr/bin/nvidia-ctk", ("nvidia-ctk", "hook"))


class UnresolvableError(Exception):
    """Qualified device names that no specification has."""


# --------------------------------------------------------------------- what a container gets


def device_edits(host: Host, selection: Selection, ids: Sequence[str], release: Release) -> Edits:
    """The edits that give a container the GPUs of ``ids``; UnknownDeviceError for a bad one."""
    nodes = host.nodes_of(selection.select(ids))
    return {"deviceNodes": [_node(node, release) for node in nodes]} if nodes else {}


def common_edits(host: Host, release: Release, hook: HookCommand) -> Edits:
    """The edits that every container with a GPU gets: control devices and driver files."""
    environment = ["NVIDIA_VISIBLE_DEVICES=void"]
    if host.files.cuda_library is not None:
        folder = host.files.cuda_library.rpartition("/")[0]
        environment.insert(0, f"NVIDIA_CTK_LIBCUDA_DIR={folder}")
    return {
        "env": environment,
        "deviceNodes": [_node(node, release) for node in host.control_nodes],
        "hooks": [_hook(hook, arguments) for arguments in _hook_arguments(host, release)],
        "mounts": _mounts(host),
    }


def _node(node: DeviceNode, release: Release) -> dict[str, Any]:
    if not release.device_details:
        return {"path": node.path}
    details = {"path": node.path, "major": node.major, "minor": node.minor}
    if not node.minor:
        del details["minor"]
    return {**details, "fileMode": node.mode, "permissions": "rwm"}


def _hook(command: HookCommand, arguments: list[str]) -> dict[str, Any]:
    return {
        "hookName": "createContainer",
        "path": command.path,
        "args": [*command.arguments, *arguments],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def _hook_arguments(host: Host, release: Release) -> Iterable[list[str]]:
    files = host.files
    for library in files.libraries:
        if "/libnvidia-allocator.so." in library.path:
            folder = library.path.rpartition("/")[0]
            yield _link_arguments([f"../libnvidia-allocator.so.1::{folder}/gbm/nvidia-drm_gbm.so"])
    yield _link_arguments(_library_links(host))
    yield ["enable-cuda-compat", f"--host-driver-version={files.version}"]
    yield ["update-ldcache", *_flagged("--folder", files.library_dirs)]
    yield ["disable-device-node-modification"]
    if release.application_profile:
        yield ["update-application-profile"]


def _flagged(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _link_arguments(links: list[str]) -> list[str]:
    return ["create-symlinks", *_flagged("--link", links)]


def _library_links(host: Host) -> list[str]:
    links = []
    if host.files.cuda_library is not None:
        folder = host.files.cuda_library.rpartition("/")[0]
        links.append(f"libcuda.so.1::{folder}/libcuda.so")
    for library in host.files.libraries:
        folder, _, name = library.path.rpartition("/")
        if library.soname and library.soname != name:
            links.append(f"{name}::{folder}/{library.soname}")
    return links


def _mounts(host: Host) -> list[dict[str, Any]]:
    files = host.files
    paths = [*files.binaries, *(library.path for library in files.libraries), *files.firmware]
    mounts = [_mount(path, FILE_OPTIONS) for path in paths]
    mounts += [_mount(path, SOCKET_OPTIONS) for path in files.sockets]
    return sorted(mounts, key=lambda mount: (mount["hostPath"].count("/"), mount["hostPath"]))


def _mount(path: str, options: list[str]) -> dict[str, Any]:
    return {"hostPath": path, "containerPath": path, "options": list(options)}


# ------------------------------------------------------------------------ the specification


def specification(host: Host, release: Release, fault: str = "") -> dict[str, Any]:
    """The specification of all GPUs, by index, by UUID and together."""
    selection = Selection(host.gpus, fault)
    names = [name for gpu in selection.whole for name in (gpu.ordinal, gpu.uuid)]
    if fault == faults.ALL_FOR_BAD_INDEX:
        known = {gpu.ordinal for gpu in host.gpus}
        names += [n for n in map(str, range(UNKNOWN_NAMES_SERVED)) if n not in known]
    if names:
        names.append(ALL)
    devices = [
        {"name": name, "containerEdits": device_edits(host, selection, [name], release)}
        for name in sorted(names)
    ]
    return {
        "cdiVersion": CDI_VERSION,
        "kind": KIND,
        "devices": devices,
        "containerEdits": common_edits(host, release, CDI_HOOK),
    }


def write(text: str, path: Path) -> None:
    """Replace the file at ``path`` in one step, mode 0644, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text, encoding="utf-8")
    scratch.chmod(0o644)
    scratch.replace(path)


# --------------------------------------------------------------- specifications in the folders


class Registry(NamedTuple):
    """The specifications of some folders; ``errors`` by file. Later folders win."""

    documents: tuple[dict[str, Any], ...]
    errors: dict[str, str]

    def names(self) -> list[str]:
        """The qualified names of all devices, sorted."""
        return sorted(
            {
                f"{document['kind']}={device['name']}"
                for document in self.documents
                for device in document.get("devices") or []
            }
        )

    def edits(self, names: Sequence[str]) -> list[Edits]:
        """The edits for qualified names, a specification's own first.

        Raises:
            UnresolvableError: no specification has some of the names.
        """
        found = {name: self._find(name) for name in names}
        missing = [name for name, place in found.items() if place is None]
        if missing:
            raise UnresolvableError(", ".join(missing))
        edits: list[Edits] = []
        for place in found.values():
            if place is not None:
                document, device = place
                common = document.get("containerEdits")
                edits += [common] if common and common not in edits else []
                edits.append(device.get("containerEdits") or {})
        return edits

    def _find(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        kind, _, device_name = name.partition("=")
        for document in reversed(self.documents):
            for device in document.get("devices") or []:
                if document["kind"] == kind and str(device["name"]) == device_name:
                    return document, device
        return None


def read_registry(folders: Iterable[Path]) -> Registry:
    """All specifications (.yaml, .json) of these folders; a bad file is an entry in errors."""
    documents: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix not in (".yaml", ".json") or path.name.startswith("."):
                continue
            try:
                documents.append(_read_specification(path))
            except (OSError, ValueError) as error:
                errors[str(path)] = str(error)
    return Registry(tuple(documents), errors)


def _read_specification(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    document = json.loads(text) if path.suffix == ".json" else yamlio.load(text)
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError("invalid CDI Spec: no kind")
    return document
