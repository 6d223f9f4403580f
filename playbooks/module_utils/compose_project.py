"""A workload on this host: a folder with a Compose file, and what Docker Compose does with it."""

from __future__ import annotations

import json
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible.module_utils import brought_images

BASE = Path("/var/lib/gpuhost/workloads")
UUID = re.compile(r"UUID: ((?:GPU|MIG)-[0-9a-fA-F-]+)")
# Compose wipes the line before each of a log, whatever it is told.
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
SHOWN_LINES = 20
CALL_S = 300.0
# Images are pulled and built, of many GB.
BUILD_S = 7200.0
POLL_S = 1.0
ENDED = ("exited", "dead")


class TroubleError(Exception):
    """What could not be done with a workload, and the last words of who could not."""

    def __init__(self, why: str, words: str = "") -> None:
        lines = [line for line in words.strip().splitlines() if line.strip()]
        self.why = why
        self.words = "\n".join(lines[-SHOWN_LINES:])
        super().__init__("\n".join(filter(None, [f"{why}.", self.words])))


class AbandonedError(TroubleError):
    """Whoever asked for this is there no more."""


class Project:
    """The workload ``name`` of this host."""

    def __init__(self, name: str, base: Path = BASE) -> None:
        self.name = name
        self.folder = base / name

    # ------------------------------------------------------------------------ beginning

    def start(
        self, gpu_services: Sequence[str], gpus: Sequence[str], ports: Sequence[int] = ()
    ) -> dict[str, list[str]]:
        """Build, prove and start it; the UUIDs that each service saw.

        Each of ``gpu_services`` has to see exactly ``gpus`` before anything starts, and the
        ports that it publishes have to be free, and ``ports`` too.

        Raises:
            TroubleError: it could not be, and nothing of it runs.
        """
        self._require_free([*self._ports(), *ports])
        before = _images(self._references())
        try:
            self.compose(["build"], "its image could not be built", BUILD_S)
            seen = {service: self._prove(service, gpus) for service in gpu_services if gpus}
            self._up()
        except TroubleError:
            with undisturbed(), suppress(TroubleError):
                self.compose(["down", "--remove-orphans"], "it could not be removed")
            raise
        finally:
            self._note_images(before)
        return seen

    def _up(self) -> None:
        try:
            self.compose(["up", "--detach", "--force-recreate"], "it could not be started", BUILD_S)
        except AbandonedError:
            raise
        except TroubleError as trouble:
            # Compose tells which container ended, and not what that had to say.
            log = ""
            with suppress(TroubleError):
                log = self.log(SHOWN_LINES)
            raise TroubleError(trouble.why, f"{trouble.words}\n{log}") from None

    def _prove(self, service: str, gpus: Sequence[str]) -> list[str]:
        argv = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "nvidia-smi", service, "-L"]
        said = self.compose(argv, f"{service} got no GPU", BUILD_S)
        seen, wanted = sorted(UUID.findall(said)), sorted(gpus)
        if any(gpu.startswith("MIG-") for gpu in wanted):
            # A divided GPU is listed above the devices that it was divided into.
            seen = [uuid for uuid in seen if uuid.startswith("MIG-") or uuid in wanted]
        if seen != wanted:
            raise TroubleError(
                f"{service} sees {', '.join(seen) or 'no GPU'}, and was to see {', '.join(wanted)}",
                said,
            )
        return seen

    def _require_free(self, ports: Sequence[int]) -> None:
        taken = [words for port in dict.fromkeys(ports) for words in _holder(port)]
        if taken:
            raise TroubleError("; ".join(taken) + ", and it needs that. Nothing was started")

    def _ports(self) -> list[int]:
        """The ports of this host that it publishes."""
        services = self._config()["services"].values()
        published = [str(p.get("published", "")) for s in services for p in s.get("ports", ())]
        return [port for text in published for port in _numbers(text)]

    def _references(self) -> list[str]:
        services = self._config()["services"]
        return [
            service.get("image") or f"{self.compose_name}-{name}"
            for name, service in services.items()
        ]

    def _config(self) -> dict[str, Any]:
        said = self.compose(["config", "--format", "json"], "its Compose file cannot be used")
        found: dict[str, Any] = json.loads(said)
        return found

    def _note_images(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        with undisturbed(), suppress(TroubleError, OSError):
            had = {image["Id"] for image in before.values()}
            now = _images(self._references())
            new = {name: image for name, image in now.items() if image["Id"] not in had}
            if new:
                brought_images.note(brought_images.RECORD, new)

    # -------------------------------------------------------------------------- looking

    def ids(self, *options: str) -> list[str]:
        """Its containers."""
        return self.compose(["ps", *(options or ("--all",)), "--quiet"], "it is unknown").split()

    def is_running(self) -> bool:
        """Whether any container of it runs."""
        return bool(self.ids("--status", "running"))

    def ended(self) -> dict[str, int]:
        """The exit codes of its containers that have ended, by service."""
        said = self.compose(["ps", "--all", "--format", "json"], "it is unknown")
        rows = [json.loads(line) for line in said.splitlines() if line.strip()]
        rows = [row for one in rows for row in (one if isinstance(one, list) else [one])]
        return {row["Service"]: row["ExitCode"] for row in rows if row["State"] in ENDED}

    def failed(self) -> dict[str, int]:
        """Those exit codes that are not 0."""
        return {service: code for service, code in self.ended().items() if code}

    def log(self, tail: int) -> str:
        """The last lines of its log."""
        logs = ["logs", "--no-color", "--no-log-prefix", "--tail", str(tail)]
        return ANSI.sub("", self.compose(logs, "its log could not be read"))

    def wait(self, within_s: float) -> dict[str, int]:
        """Wait until all its containers have ended; their exit codes by service.

        Raises:
            TroubleError: they have not, after ``within_s``.
        """
        deadline = time.monotonic() + within_s
        while self.is_running():
            if time.monotonic() > deadline:
                raise TroubleError(f"it has not ended within {within_s:g} s", self.log(SHOWN_LINES))
            pause()
        return self.ended()

    # --------------------------------------------------------------------------- ending

    def stop(self) -> None:
        """End its containers; they stay to be looked at."""
        self.compose(["stop"], "it could not be stopped")

    def remove(self) -> bool:
        """Remove its containers, networks, volumes and files; whether there were any."""
        there = bool(self.ids("--all")) or self.folder.exists()
        if there:
            self.compose(["down", "--volumes", "--remove-orphans"], "it could not be removed")
            shutil.rmtree(self.folder, ignore_errors=True)
        return there

    # --------------------------------------------------------------------------- asking

    @property
    def compose_name(self) -> str:
        """What Compose calls it."""
        return f"gpuhost-{self.name}"

    def compose(self, argv: Sequence[str], otherwise: str, timeout_s: float = CALL_S) -> str:
        """What ``docker compose`` said.

        Raises:
            TroubleError: it failed, which means ``otherwise``.
        """
        project = ["compose", "--project-name", self.compose_name]
        if self.folder.is_dir():
            project += ["--project-directory", str(self.folder)]
        return docker([*project, *argv], otherwise, timeout_s)


def docker(argv: Sequence[str], otherwise: str, timeout_s: float = CALL_S) -> str:
    """What ``docker`` said on its standard output.

    Raises:
        TroubleError: it failed, which means ``otherwise``.
    """
    status, said, complaint = run(["docker", *argv], timeout_s)
    if status != 0:
        raise TroubleError(otherwise, f"{said}\n{complaint}")
    return said


def run(argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    """Exit status and output of a program; it is ended when its time is up or nobody waits.

    Raises:
        AbandonedError: whoever asked for this is there no more.
    """
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        return 127, "", f"{argv[0]}: {error.strerror}"
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            said, complaint = process.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                process.kill()
                said, complaint = process.communicate()
                complaint += f"\n{argv[0]} was ended after {timeout_s:g} s".encode()
                return 124, said.decode(errors="replace"), complaint.decode(errors="replace")
            if heeds_abandonment() and is_abandoned():
                process.kill()
                process.communicate()
                raise AbandonedError("nobody waits for it any more") from None
        else:
            return (
                process.returncode,
                said.decode(errors="replace"),
                complaint.decode(errors="replace"),
            )


def pause() -> None:
    """Let some time pass between two looks.

    Raises:
        AbandonedError: whoever asked for this is there no more.
    """
    if heeds_abandonment() and is_abandoned():
        raise AbandonedError("nobody waits for it any more")
    time.sleep(POLL_S)


_here = threading.local()


@contextmanager
def undisturbed() -> Iterator[None]:
    """What this thread does in here goes on to its end, whether or not anybody waits for it."""
    before = heeds_abandonment()
    _here.heeds = False
    try:
        yield
    finally:
        _here.heeds = before


def heeds_abandonment() -> bool:
    """Whether this thread stops when nobody waits for it any more."""
    return bool(getattr(_here, "heeds", True))


def is_abandoned() -> bool:
    """Whether the controller has hung up: nobody reads this module's output any more."""
    poll = select.poll()
    poll.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _images(references: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The images of these names that are here, as docker shows them."""
    found = {}
    for reference in references:
        status, said, _ = run(["docker", "image", "inspect", reference], CALL_S)
        if status == 0:
            found[reference] = json.loads(said)[0]
    return found


def _numbers(published: str) -> Iterator[int]:
    """The ports that Compose's words for them mean: a number or a range."""
    first, _, last = published.partition("-")
    if first.isdigit():
        yield from range(int(first), int(last or first) + 1)


def _holder(port: int) -> Iterator[str]:
    """Who has a TCP port of this host, in words; nothing where nobody has."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", port))
        except OSError:
            pass
        else:
            return
    filters = ["--filter", f"publish={port}", "--format", "{{.Names}}"]
    _, names, _ = run(["docker", "ps", *filters], CALL_S)
    if names.split():
        yield f"port {port} is taken by container {', '.join(names.split())}"
        return
    _, said, _ = run(["ss", "-Hltnp", f"sport = :{port}"], CALL_S)
    users = re.findall(r'\("([^"]+)",pid=(\d+)', said)
    who = ", ".join(dict.fromkeys(f"{name} (pid {pid})" for name, pid in users))
    yield f"port {port} is taken" + (f" by {who}" if who else "")
