"""``gpuhost workload``: a definition on one host, from its GPUs to the end of its log."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuhost import engine
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.collect import asking, collect
from gpuhost.errors import ExitCode, GpuhostError, UsageError
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.workloads import archives
from gpuhost.workloads import gpus as gpu_room
from gpuhost.workloads.definition import COMPOSE, Definition
from gpuhost.workloads.parameters import lacking
from gpuhost.workloads.render import NONE, as_text, asked, gpu_services, render

PLAYBOOK = "workload.yml"
STARTED, READY, FINISHED = "started", "ready", "finished"
SECTIONS = ("nvml", "docker", "driver")


class WorkloadError(GpuhostError):
    """Work that could not be started, or that did not end well."""

    exit_code = ExitCode.FAILED


class HostUnreadError(GpuhostError):
    """A host that cannot be asked: what GPUs it has, who uses them, or what it runs."""

    exit_code = ExitCode.UNREACHABLE


@dataclass(frozen=True)
class Done:
    """What a host said of a workload: see the module ``workload``."""

    found: Mapping[str, Any]

    @property
    def log(self) -> str:
        """The end of its log."""
        return str(self.found.get("log", ""))


def start(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    definition: Definition,
    values: Mapping[str, Any],
    *,
    asked_gpus: str,
    share: bool,
    state: str,
) -> Done:
    """Start a workload on the one host of ``targets``; ``state`` is STARTED, READY or FINISHED.

    Raises:
        UsageError: the host has no such GPU, a parameter lacks, or an archive cannot be used.
        WorkloadError: the GPUs are in use, or the work did not start or did not end well.
        HostUnreadError: the host does not tell its GPUs.
    """
    (host,) = targets.names
    missing = lacking(definition.parameters, values)
    if missing is not None:
        raise UsageError(
            f"{definition.name} needs {missing.name}. {missing.help}",
            f"Give it with: --set {missing.name}=…",
        )
    with tempfile.TemporaryDirectory(prefix="gpuhost-workload-") as folder:
        files = Path(folder, definition.name)
        archives.lay_out(definition, values, files)
        asked_gpus = asked_gpus if gpu_services(definition) else NONE
        chosen = _free_gpus(targets, settings, ui, asked_gpus, share=share)
        compose = render(definition, values, chosen)
        Path(files, COMPOSE).write_text(as_text(compose), encoding="utf-8")
        done = ask(
            targets,
            settings,
            ui,
            {
                "state": state,
                "name": definition.name,
                "gpu_services": list(gpu_services(definition)),
                "gpus": list(chosen),
                "within": int(definition.within),
                # A job may be anybody's, with other words than the definition's own.
                "probes": _readiness(definition, values) if state == READY else [],
            },
            files=files,
        )
    if state == FINISHED:
        _require_success(host, definition, done)
    return done


def _free_gpus(
    targets: Targets, settings: Settings, ui: Ui, asked: str, *, share: bool
) -> tuple[str, ...]:
    (host,) = targets.names
    with ui.stage("look", targets.names):
        collected = collect(targets, asking(SECTIONS, ()), ui.listen, forks=settings.forks)
    if host in collected.failures:
        failure = collected.failures[host]
        raise HostUnreadError(f"{host}: {failure.error}", failure.error_remedy)
    facts = Facts(collected.evidence[host], targets.desired[host])
    try:
        chosen = gpu_room.choose(host, facts.nvml, asked)
        users = () if share else gpu_room.busy(facts, chosen)
    except SectionMissingError as missing:
        raise HostUnreadError(f"{host}: {missing}", f"gpuhost verify {host}") from None
    if users:
        raise WorkloadError(
            f"{host}: the GPUs are in use by {'; '.join(users)}. Nothing was started.",
            "Wait, choose others with --gpus, or use them all the same with --share.",
        )
    return chosen


def ask(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    arguments: Mapping[str, Any],
    *,
    files: Path | None = None,
    playbook: str = PLAYBOOK,
) -> Done:
    """Let the module ``workload`` do something on the one host of ``targets``.

    Raises:
        HostUnreadError: the host could not be reached.
        WorkloadError: it could not be done.
    """
    (host,) = targets.names
    variables: dict[str, Any] = {"gpuhost_workload": dict(arguments)}
    if files is not None:
        variables["gpuhost_workload_files"] = str(files)
    with ui.stage("workload", targets.names):
        outcome = engine.run(
            playbook,
            targets.inventory,
            targets.names,
            variables,
            ui.listen,
            forks=settings.forks,
        )
    found = outcome.hosts[host]
    if found.unreachable:
        raise HostUnreadError(f"{host}: {found.message}", found.remedy)
    if not found.ok:
        raise WorkloadError(
            f"{host}: {found.message}",
            found.remedy or f"See what there is with: gpuhost workload ps {host}",
        )
    return Done(found.results.get("workload", {}))


def _require_success(host: str, definition: Definition, done: Done) -> None:
    codes = [code for code in done.found.get("exit_codes", ()) if code]
    if codes:
        raise WorkloadError(
            f"{host}: {definition.name} ended with exit code {codes[0]}.\n{done.log.rstrip()}",
            f"gpuhost workload logs {host} {definition.name}",
        )


def _readiness(definition: Definition, values: Mapping[str, Any]) -> list[Any]:
    return [asked(definition, probe, values) for probe in definition.probes]


def one_host(targets: Targets) -> Targets:
    """The targets, which have to be one host.

    Raises:
        UsageError: they are several.
    """
    if len(targets.names) != 1:
        raise UsageError(
            f"A workload runs on one host, and this is {len(targets.names)}.",
            f"Name one of them: {', '.join(targets.names)}",
        )
    return targets
