"""The Docker Engine of this host, through docker-py and its local socket only.

Neither ``DOCKER_HOST`` nor a Docker context has a say: the probe is about the
daemon of the host that it runs on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Tuple

import docker
import docker.errors
import docker.types
import requests.exceptions

SOCKET_URL = "unix:///var/run/docker.sock"
FRAME_HEADER = struct.Struct(">BxxxL")
STDERR = 2
# Before Python 3.10 the socket's own is no TimeoutError.
TIMEOUTS = (requests.exceptions.Timeout, TimeoutError, getattr(socket, "timeout"))  # noqa: B009


class EngineError(Exception):
    """The Engine could not be asked, or its answer makes no sense; with the words for it."""


class RefusedError(EngineError):
    """The Engine, or a runtime behind it, answered no; with its own words."""


class EngineTimeoutError(EngineError):
    """The Engine did not answer in time."""


@dataclass(frozen=True)
class DeviceRequest:
    """Devices as the Engine API takes them: ``--gpus`` (no driver) or CDI."""

    driver: str
    device_ids: Tuple[str, ...]  # empty: all


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create: no network, no log, removed by the daemon when it ends."""

    image: str
    shell_arguments: List[str]
    labels: Mapping[str, str]
    runtime: Optional[str] = None
    environment: Mapping[str, str] = field(default_factory=dict)
    devices: Optional[DeviceRequest] = None


class Stream(Protocol):
    """A container's standard streams."""

    def read(self, deadline: float) -> Optional[Tuple[int, bytes]]:
        """The next piece: stream number (2: stderr) and data; None at the end.

        Raises EngineTimeoutError when ``deadline`` (time.monotonic) has passed.
        """

    def say(self, data: bytes) -> None:
        """Give the container something to read; raises EngineError."""

    def close_stdin(self) -> None:
        """Let the container see the end of its standard input."""

    def close(self) -> None:
        """Let go of it, whether or not the container has ended."""


class Engine(Protocol):
    """What the container trials need of a Docker Engine; every method raises EngineError."""

    def image(self, reference: str) -> Optional[Dict[str, Any]]:
        """The image as ``docker image inspect`` shows it; None if it is not on the host."""

    def pull(self, reference: str) -> None:
        """Pull an image; it is not bounded in time."""

    def create(self, container: ContainerSpec) -> str:
        """Create a container; its id."""

    def attach(self, container_id: str) -> Stream:
        """The streams of a container that is not started yet."""

    def start(self, container_id: str) -> None:
        """Start a container."""

    def remove(self, container_id: str) -> None:
        """Kill and remove a container; one that is not there is no error."""

    def labelled(self, label: str) -> List[Dict[str, Any]]:
        """All containers with that label, running or not, as /containers/json lists them."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn docker-py's many exceptions into :class:`EngineError` and its two kinds."""
    try:
        yield
    except docker.errors.APIError as error:
        raise RefusedError(str(error.explanation or error)) from error
    except TIMEOUTS as error:
        raise EngineTimeoutError(f"the Docker daemon did not answer in time: {error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise EngineError(str(error)) from error


class _BoundedClient(docker.APIClient):  # type: ignore[misc]
    """docker-py sends some requests without any time-out; here every one has one."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request; the client's own time-out holds where none is given."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        return super().request(*args, **kwargs)


def connect(timeout_s: float) -> DockerEngine:
    """Connect to the host's daemon; raises EngineError."""
    with translated():
        return DockerEngine(_BoundedClient(SOCKET_URL, version="auto", timeout=timeout_s))


class DockerEngine:
    """An :class:`Engine` over docker-py."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def info(self) -> Mapping[str, Any]:
        """The Engine API's /info."""
        with translated():
            return dict(self._client.info())

    def version(self) -> Mapping[str, Any]:
        """The Engine API's /version."""
        with translated():
            return dict(self._client.version())

    def running(self) -> List[Dict[str, Any]]:
        """The running containers as /containers/json lists them."""
        with translated():
            return list(self._client.containers())

    def inspect(self, container_id: str) -> Optional[Dict[str, Any]]:
        """A container as ``docker inspect`` shows it; None if there is none."""
        with translated():
            try:
                return dict(self._client.inspect_container(container_id))
            except docker.errors.NotFound:
                return None

    def image(self, reference: str) -> Optional[Dict[str, Any]]:
        """See :class:`Engine`."""
        with translated():
            try:
                return dict(self._client.inspect_image(reference))
            except docker.errors.NotFound:
                return None

    def pull(self, reference: str) -> None:
        """See :class:`Engine`."""
        with translated():
            for step in self._client.pull(reference, stream=True, decode=True):
                # The answer has begun as a success by the time that the registry says no.
                if "error" in step:
                    raise RefusedError(step["error"])

    def create(self, container: ContainerSpec) -> str:
        """See :class:`Engine`."""
        with translated():
            host_config = self._client.create_host_config(
                network_mode="none",
                auto_remove=True,
                log_config=docker.types.LogConfig(type="none"),
                runtime=container.runtime,
                device_requests=_device_requests(container.devices),
            )
            created = self._client.create_container(
                container.image,
                entrypoint=["/bin/sh"],
                command=container.shell_arguments,
                environment=dict(container.environment),
                labels=dict(container.labels),
                stdin_open=True,
                host_config=host_config,
                use_config_proxy=False,
            )
            return str(created["Id"])

    def attach(self, container_id: str) -> Stream:
        """See :class:`Engine`."""
        parameters = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        with translated():
            return SocketStream(self._client.attach_socket(container_id, parameters))

    def start(self, container_id: str) -> None:
        """See :class:`Engine`."""
        with translated():
            self._client.start(container_id)

    def remove(self, container_id: str) -> None:
        """See :class:`Engine`."""
        with translated(), contextlib.suppress(docker.errors.NotFound):
            self._client.remove_container(container_id, force=True, v=True)

    def labelled(self, label: str) -> List[Dict[str, Any]]:
        """See :class:`Engine`."""
        with translated():
            return list(self._client.containers(all=True, filters={"label": label}))


def _device_requests(devices: Optional[DeviceRequest]) -> List[Any]:
    if devices is None:
        return []
    if devices.driver:
        return [
            docker.types.DeviceRequest(driver=devices.driver, device_ids=list(devices.device_ids))
        ]
    selection = {"device_ids": list(devices.device_ids)} if devices.device_ids else {"count": -1}
    return [docker.types.DeviceRequest(capabilities=[["gpu"]], **selection)]


class SocketStream:
    """A :class:`Stream` over the connection that the Engine gives for attaching."""

    def __init__(self, attached: Any) -> None:
        # A socket of our own over the same connection: docker-py's cannot be half closed, and
        # closes itself when nobody holds it any more.
        self._socket = socket.socket(fileno=os.dup(attached.fileno()))
        self._buffer = bytearray()

    def read(self, deadline: float) -> Optional[Tuple[int, bytes]]:
        """See :class:`Stream`."""
        header = self._take(FRAME_HEADER.size, deadline)
        if header is None:
            return None
        number, size = FRAME_HEADER.unpack(header)
        data = self._take(size, deadline)
        return None if data is None else (number, data)

    def _take(self, size: int, deadline: float) -> Optional[bytes]:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise EngineTimeoutError("the container had not said all in time")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TIMEOUTS:
                continue
            except OSError:
                return None
            if not data:
                return None
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def say(self, data: bytes) -> None:
        """See :class:`Stream`."""
        with translated():
            self._socket.sendall(data)

    def close_stdin(self) -> None:
        """See :class:`Stream`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See :class:`Stream`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
