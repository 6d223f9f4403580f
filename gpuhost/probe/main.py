"""The probe: a Spec in, an Evidence document out.

Every section is read in a process of its own, all at the same time, each
within its limit; what goes wrong in one becomes that section's error.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import sys
import time
from typing import Any, Dict, Optional, Sequence

from gpuhost import __version__
from gpuhost.probe import limits, trials
from gpuhost.probe.child import Child, ChildError, Stopped, stop_on_signals, wait_any
from gpuhost.probe.context import Context
from gpuhost.probe.schema import SCHEMA_VERSION, SECTIONS, Evidence, Section, Spec

STANDARD_STREAMS = (0, 1, 2)
EXIT_BAD_SPEC = 2
EXIT_STOPPED = 143
CONTAINERS = "containers"
THROUGHPUT = "throughput"
CONTAINERS_MODULE = "gpuhost.probe.containers"
NEED_DOCKER_PY = frozenset(("docker", CONTAINERS, THROUGHPUT))
# The trials are planned from what NVML finds, and start when the daemon has been looked at as
# earlier runs left it.
BEFORE_CONTAINERS = ("nvml", "docker")


class SpecError(Exception):
    """The Spec is not one that this probe understands."""


def collect(spec: Spec) -> Evidence:
    """Read this host; raises SpecError.

    Everything that goes wrong on the host is part of the Evidence. On any
    other exception, KeyboardInterrupt included, the started processes are
    ended and the trials' containers removed before it is passed on.
    """
    check(spec)
    began = time.monotonic()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sections = Reading(spec).run()
    return {
        "schema_version": SCHEMA_VERSION,
        "probe": {
            "version": __version__,
            "uid": os.getuid(),
            "started": started,
            "duration_s": round(time.monotonic() - began, 3),
        },
        "spec": spec,
        "sections": {name: sections[name] for name in SECTIONS if name in sections},
    }


def check(spec: Spec) -> None:
    """Raise SpecError unless the probe can work by this Spec."""
    missing = sorted(Spec.__annotations__.keys() - spec.keys())
    if missing:
        raise SpecError(f"the spec has no {', '.join(missing)}")
    if spec["schema_version"] != SCHEMA_VERSION:
        raise SpecError(f"spec version {spec['schema_version']}, this probe reads {SCHEMA_VERSION}")
    unknown = sorted(set(spec["sections"]) - set(SECTIONS))
    if unknown:
        raise SpecError(f"there is no section {', '.join(unknown)}")


class Reading:
    """One reading of the host, section by section."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._context = Context.of_this_host(spec)
        self._children: Dict[str, Child] = {}
        self._sections: Dict[str, Section] = {}

    def run(self) -> Dict[str, Section]:
        """Read all sections asked for, and those that the trials need."""
        wanted = list(self._spec["sections"] or SECTIONS)
        if CONTAINERS in wanted and self._spec["trials"]:
            wanted = list(dict.fromkeys([*wanted, *BEFORE_CONTAINERS]))
        try:
            for name in wanted:
                if name not in NEED_DOCKER_PY:
                    self._start(name)
            if not NEED_DOCKER_PY.isdisjoint(wanted):
                _load_docker_py()
            if "docker" in wanted:
                self._start("docker")
            self._gather(BEFORE_CONTAINERS)
            if CONTAINERS in wanted:
                self._start_containers()
            self._gather(SECTIONS)
            if THROUGHPUT in wanted:
                self._start(THROUGHPUT, limits.throughput_s(self._spec))
            self._gather(SECTIONS)
        finally:
            for child in self._children.values():
                child.stop()
        return self._sections

    def _start(self, name: str, limit_s: Optional[float] = None) -> None:
        def work() -> Any:
            return importlib.import_module(f"gpuhost.probe.{name}").collect(self._context)

        limit_s = limit_s or self._spec["section_timeout_s"]
        self._children[name] = Child(work, limit_s, limits.SECTION_GRACE_S)

    def _start_containers(self) -> None:
        nvml = self._sections.get("nvml")
        found = nvml["data"] if nvml else None
        gpus, count = trials.usable_gpus(found)
        asked = self._spec["trials"]
        planned = trials.plan(gpus, count, asked, trials.divided_gpus(found)) if asked else []
        self._children[CONTAINERS] = Child(
            lambda: importlib.import_module(CONTAINERS_MODULE).collect(self._spec, planned),
            limits.containers_s(self._spec, len(planned)),
            limits.CLEAN_S,
        )

    def _gather(self, names: Sequence[str]) -> None:
        """Wait until the named sections have ended; others may end meanwhile."""
        while any(name in self._children for name in names):
            ended = wait_any(self._children.values())
            for name in [name for name, child in self._children.items() if child in ended]:
                self._sections[name] = _section(self._children.pop(name))


def _load_docker_py() -> None:
    """Load it once for all who need it, while the other sections are being read.

    Should that fail, the sections that need it will say so themselves.
    """
    with contextlib.suppress(Exception):
        importlib.import_module("gpuhost.probe.engine_api")


def _section(child: Child) -> Section:
    section: Section = {"error": None, "duration_s": 0.0, "data": None}
    try:
        section["data"] = child.answer()
    except ChildError as error:
        section["error"] = str(error)
    section["duration_s"] = round(child.duration_s, 3)
    return section


def read_spec(arguments: Sequence[str]) -> Spec:
    """The Spec from standard input, or as the one argument in base64; raises SpecError."""
    try:
        text = base64.b64decode(arguments[0]) if arguments else sys.stdin.buffer.read()
        spec: Any = json.loads(text)
    except ValueError as error:
        raise SpecError(f"the spec is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise SpecError("the spec is not an object")
    found: Any = spec
    return found  # type: ignore[no-any-return]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command: print the Evidence as one line of JSON and give the exit status."""
    _open_standard_streams()
    stop_on_signals()
    try:
        evidence = collect(read_spec(sys.argv[1:] if arguments is None else arguments))
    except SpecError as error:
        _write(sys.stderr, f"gpuhost-probe: {error}\n")
        return EXIT_BAD_SPEC
    except Stopped as stopped:
        _write(sys.stderr, f"gpuhost-probe: ended by {stopped}\n")
        return EXIT_STOPPED
    _write(sys.stdout, json.dumps(evidence, separators=(",", ":")) + "\n")
    return 0


def _open_standard_streams() -> None:
    """Where the caller closed some, take their numbers: no pipe of ours may get one of them."""
    while os.open(os.devnull, os.O_RDWR) <= STANDARD_STREAMS[-1]:
        pass


def _write(stream: Any, text: str) -> None:
    """Write all of it; whoever was to read it may have gone."""
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        # Or Python complains once more about the same stream when it ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
