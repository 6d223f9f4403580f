"""Hosts that the probe's tests make up: file trees, programs' answers, a Docker Engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuhost.probe import inside
from gpuhost.probe.context import Context
from gpuhost.probe.engine_api import ContainerSpec, EngineError, EngineTimeoutError, RefusedError
from gpuhost.probe.root import Root
from gpuhost.probe.schema import Command, Spec, Trials
from gpuhost.probe.trials import Gpu

IMAGE = "nvidia/cuda:test"


def spec(**changes: Any) -> Spec:
    """A Spec that asks for everything and runs no trials."""
    asked: dict[str, Any] = {
        "schema_version": 1,
        "sections": [],
        "users": [],
        "packages": [],
        "free_paths": [],
        "command_timeout_s": 5.0,
        "section_timeout_s": 5.0,
        "trials": None,
    }
    made: Any = asked | changes
    return made  # type: ignore[no-any-return]


def trials_asked(**changes: Any) -> Trials:
    """Trials over all paths with one image."""
    asked: dict[str, Any] = {
        "cuda_image": IMAGE,
        "ngc_image": "",
        "user": None,
        "paths": ["gpus", "runtime", "cdi"],
        "groups": [],
        "pull": False,
        "parallel": 4,
        "trial_timeout_s": 5.0,
        "pull_timeout_s": 5.0,
    }
    made: Any = asked | changes
    return made  # type: ignore[no-any-return]


def gpus(count: int) -> tuple[Gpu, ...]:
    """So many GPUs."""
    return tuple(Gpu(i, f"GPU-{i:08d}-aaaa", f"00000000:{i + 1:02X}:00.0") for i in range(count))


def tree(base: Path, files: Mapping[str, str | bytes]) -> Root:
    """A Root with these files."""
    for name, content in files.items():
        path = base / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Root(base)


def answer(argv: Sequence[str], stdout: str = "", rc: int | None = 0, stderr: str = "") -> Command:
    """A command as it was run."""
    return {
        "argv": list(argv),
        "rc": rc,
        "stdout": stdout,
        "stderr": stderr,
        "duration_s": 0.0,
        "timed_out": rc is None,
        "error": None,
    }


@dataclass
class FakePrograms:
    """Stands for all programs of a host: the answer of the first key that is in the command."""

    answers: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def __call__(self, argv: Sequence[str]) -> Command:
        self.asked.append(list(argv))
        line = " ".join(argv)
        for key, (stdout, rc) in self.answers.items():
            if key in line:
                return answer(argv, stdout, rc)
        return {**answer(argv, rc=None), "timed_out": False, "error": f"{argv[0]}: not found"}


def context(root: Root, run: Callable[[Sequence[str]], Command] | None = None) -> Context:
    """The context of a section."""
    return Context(spec=spec(), root=root, run=run or FakePrograms())


@dataclass
class FakeContainer:
    """One container of a FakeEngine."""

    id: str
    spec: ContainerSpec
    state: str = "created"
    created: float = field(default_factory=time.time)
    stdin_closed: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)


class FakeStream:
    """What a container says once it is told to, piece by piece; it stays until its input ends."""

    def __init__(self, container: FakeContainer, said: bytes, ends: bool) -> None:
        self._container = container
        self.pieces = [(1, said), (2, b"")] if said else []
        if inside.is_complete(said, said):
            self.pieces[1] = (2, f"\n{inside.MARK} exit 0\n".encode())
        self._ends = ends
        self._told = False

    def say(self, data: bytes) -> None:
        self._told = data == b"\n"

    def read(self, deadline: float) -> tuple[int, bytes] | None:
        if self.pieces and self._told:
            return self.pieces.pop(0)
        if not self._ends and not self._container.gone.wait(max(deadline - time.monotonic(), 0)):
            raise EngineTimeoutError("nothing more")
        self._container.state = "exited"
        return None

    def close_stdin(self) -> None:
        self._container.stdin_closed.set()
        if self._ends:
            self._container.state = "exited"

    def close(self) -> None:
        pass


def printed(shown: str, exit_code: int = 0, environment: str = "") -> bytes:
    """What the script in a container prints, with ``shown`` for nvidia-smi -L."""
    mark = inside.MARK
    return (
        f"\n{mark} environment\n{environment}\n{mark} nodes\n/dev/nvidia0\n/dev/nvidiactl\n"
        f"\n{mark} list\n{shown}\n{mark} query\n0, x\n\n{mark} exit {exit_code}\n"
    ).encode()


Behaviour = Callable[[ContainerSpec], bytes]


class FakeEngine:
    """A Docker Engine in memory.

    ``behaviour`` gives what a container prints, or raises what its start
    raises; an empty output is a container that hangs.
    """

    def __init__(self, behaviour: Behaviour, images: Sequence[str] = (IMAGE,)) -> None:
        self.behaviour = behaviour
        self.images = set(images)
        self.pullable: set[str] = set()
        self.containers: dict[str, FakeContainer] = {}
        self.most_at_once = 0
        self.undead = False
        self._lock = threading.Lock()
        self._made = 0

    def image(self, reference: str) -> dict[str, Any] | None:
        if reference not in self.images:
            return None
        return {"Id": "sha256:1", "RepoDigests": ["x@sha256:2"], "Config": {"Env": ["A=b"]}}

    def pull(self, reference: str) -> None:
        if reference not in self.pullable:
            raise RefusedError(f"manifest for {reference} not found: manifest unknown")
        self.images.add(reference)

    def create(self, container: ContainerSpec) -> str:
        with self._lock:
            self._made += 1
            identifier = f"{self._made:064d}"
            self.containers[identifier] = FakeContainer(identifier, container)
        return identifier

    def attach(self, container_id: str) -> FakeStream:
        container = self.containers[container_id]
        try:
            said = self.behaviour(container.spec)
        except EngineError:
            return FakeStream(container, b"", ends=True)
        return FakeStream(container, said, ends=bool(said))

    def start(self, container_id: str) -> None:
        self.behaviour(self.containers[container_id].spec)
        with self._lock:
            self.containers[container_id].state = "running"
            running = [c for c in self.containers.values() if c.state == "running"]
            self.most_at_once = max(self.most_at_once, len(running))

    def remove(self, container_id: str) -> None:
        if self.undead:
            raise EngineError("device or resource busy")
        container = self.containers.pop(container_id, None)
        if container is not None:
            container.gone.set()

    def labelled(self, label: str) -> list[dict[str, Any]]:
        name, _, value = label.partition("=")
        with self._lock:
            present = list(self.containers.values())
        return [
            {
                "Id": c.id,
                "Labels": dict(c.spec.labels),
                "State": c.state,
                "Created": c.created,
            }
            for c in present
            if name in c.spec.labels and value in ("", c.spec.labels[name]) and not _ended(c)
        ]


def _ended(container: FakeContainer) -> bool:
    """Like the real Engine, forget containers that ended: they were made to remove themselves."""
    return container.state == "exited"


def evidence_of(stdout: str) -> dict[str, Any]:
    """The document that the probe printed."""
    document: dict[str, Any] = json.loads(stdout)
    return document
