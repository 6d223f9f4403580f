"""CDI specifications: which names a container can ask for, and what each name brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from gpuhost.parse.errors import ParseError

GPU_KIND = "nvidia.com/gpu"

_LIBRARY_VERSION = re.compile(r"/lib(?:cuda|nvidia-ml)\.so\.(\d{3,}\.\d+(?:\.\d+)?)$")
_CAPABILITIES = "/dev/nvidia-caps/"
_GPU_NODE = re.compile(r"/dev/nvidia\d+")


@dataclass(frozen=True)
class CdiNode:
    """A device node; ``major`` and ``minor`` are None where the spec leaves them to the host."""

    path: str
    major: int | None = None
    minor: int | None = None


@dataclass(frozen=True)
class CdiDevice:
    """A name that can be asked for, with the nodes that it brings."""

    name: str
    nodes: tuple[CdiNode, ...]

    @property
    def gpu_nodes(self) -> tuple[str, ...]:
        """The GPUs' own nodes, ``/dev/nvidia<minor>``, sorted."""
        return tuple(sorted(n.path for n in self.nodes if _GPU_NODE.fullmatch(n.path)))

    @property
    def capability_nodes(self) -> tuple[str, ...]:
        """The nodes of the rights to use MIG devices, sorted."""
        return tuple(sorted(n.path for n in self.nodes if n.path.startswith(_CAPABILITIES)))


@dataclass(frozen=True)
class CdiSpec:
    """One specification file.

    ``nodes`` come with every device. ``driver_versions`` are those of the
    driver libraries that the spec mounts.
    """

    path: str
    version: str
    kind: str
    devices: tuple[CdiDevice, ...]
    nodes: tuple[CdiNode, ...]
    driver_versions: frozenset[str]

    @property
    def folder(self) -> str:
        """The folder that the file lies in; the daemon reads whole folders."""
        return str(PurePosixPath(self.path).parent)


def parse_spec(text: str, path: str) -> CdiSpec:
    """Read a CDI specification, YAML or JSON.

    Raises:
        ParseError: it is neither, or lacks what every specification has.
    """
    what = f"a CDI specification ({path})"
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506  (both are safe loaders)
    except yaml.YAMLError as error:
        raise ParseError(what, str(error).replace("\n", " ")) from error
    if not isinstance(document, dict) or not document.get("kind"):
        raise ParseError(what, "it names no kind", text)
    try:
        return _spec(document, path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ParseError(what, f"{type(error).__name__}: {error}") from error


# The C loader reads a specification ten times as fast; wheels have it, source builds may not.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _spec(document: Mapping[str, Any], path: str) -> CdiSpec:
    edits = document.get("containerEdits") or {}
    devices = tuple(
        CdiDevice(str(device["name"]), _nodes(device.get("containerEdits") or {}))
        for device in document.get("devices") or ()
    )
    mounted = [str(mount["hostPath"]) for mount in edits.get("mounts") or ()]
    return CdiSpec(
        path=path,
        version=str(document.get("cdiVersion", "")),
        kind=str(document["kind"]),
        devices=devices,
        nodes=_nodes(edits),
        driver_versions=frozenset(
            match[1] for host_path in mounted if (match := _LIBRARY_VERSION.search(host_path))
        ),
    )


def _nodes(edits: Mapping[str, Any]) -> tuple[CdiNode, ...]:
    return tuple(_node(node) for node in edits.get("deviceNodes") or ())


def _node(node: Mapping[str, Any]) -> CdiNode:
    major = node.get("major")
    # nvidia-ctk leaves a zero out: a node with a major and no minor has minor 0.
    minor = node.get("minor", 0) if major is not None else None
    path = str(node["path"])
    return CdiNode(
        path, None if major is None else int(major), None if minor is None else int(minor)
    )
