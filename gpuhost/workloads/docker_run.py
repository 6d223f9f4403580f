"""A rendered service as one ``docker run`` command line. Pure."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpuhost.errors import UsageError
from gpuhost.workloads.render import ALL, word

# Of no use to docker run, or said otherwise.
LEFT_OUT = frozenset(("build", "deploy", "image", "command", "entrypoint", "restart"))


def docker_run(compose: Mapping[str, Any]) -> str:
    """The command line, quoted so that it can be pasted into a shell.

    Raises:
        UsageError: there are several services, or one says what docker run cannot.
    """
    services = compose["services"]
    if len(services) != 1:
        raise UsageError(
            f"{compose['name']} has {len(services)} services; docker run starts one.",
            "Use --as compose.",
        )
    (service,) = services.values()
    return shlex.join(["docker", "run", "--rm", *_options(service), *_what(service)])


def _options(service: Mapping[str, Any]) -> Iterator[str]:
    yield from _devices(service)
    for key, value in service.items():
        if key in LEFT_OUT:
            continue
        if key not in OPTIONS:
            raise UsageError(f"docker run has no option for {key!r}.", "Use --as compose.")
        yield from (_plain(option) for option in OPTIONS[key](value))
    entrypoint = service.get("entrypoint")
    if entrypoint:
        yield from ("--entrypoint", _plain(entrypoint[0]))


def _what(service: Mapping[str, Any]) -> Iterator[str]:
    yield _plain(service["image"])
    arguments = [*(service.get("entrypoint") or ())[1:], *(service.get("command") or ())]
    yield from (_plain(word(argument)) for argument in arguments)


def _devices(service: Mapping[str, Any]) -> Iterator[str]:
    resources = (service.get("deploy") or {}).get("resources") or {}
    for device in (resources.get("reservations") or {}).get("devices") or ():
        ids = device.get("device_ids")
        # Docker reads this value as CSV: only quotes keep several ids together.
        yield from ("--gpus", f'"device={",".join(ids)}"' if ids else ALL)


def _plain(text: Any) -> str:
    """What Compose would make of the text."""
    return str(text).replace("$$", "$")


def _one(option: str) -> Callable[[Any], Iterator[str]]:
    def make(value: Any) -> Iterator[str]:
        yield from (option, str(value))

    return make


def _each(option: str) -> Callable[[Sequence[Any]], Iterator[str]]:
    def make(values: Sequence[Any]) -> Iterator[str]:
        for value in values:
            yield from (option, str(value))

    return make


def _pairs(option: str) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    def make(values: Mapping[str, Any]) -> Iterator[str]:
        for name, value in values.items():
            yield from (option, f"{name}={word(value)}")

    return make


def _flag(option: str) -> Callable[[Any], Iterator[str]]:
    def make(value: Any) -> Iterator[str]:
        if value:
            yield option

    return make


def _volumes(volumes: Sequence[Any]) -> Iterator[str]:
    for volume in volumes:
        if isinstance(volume, str):
            yield from ("--volume", volume)
            continue
        # As create_host_path: false has it: a folder that is not there is an error.
        words = [f"{key}={volume[key]}" for key in ("type", "source", "target")]
        words += ["readonly"] if volume.get("read_only") else []
        line = io.StringIO()
        csv.writer(line).writerow(words)
        yield from ("--mount", line.getvalue().removesuffix("\r\n"))


OPTIONS: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "environment": _pairs("--env"),
    "labels": _pairs("--label"),
    "ulimits": _pairs("--ulimit"),
    "volumes": _volumes,
    "ports": _each("--publish"),
    "shm_size": _one("--shm-size"),
    "init": _flag("--init"),
    "ipc": _one("--ipc"),
    "network_mode": _one("--network"),
    "working_dir": _one("--workdir"),
    "user": _one("--user"),
    "container_name": _one("--name"),
}
