"""Workloads as verification: each is started, asked, judged and removed, on GPUs that are free."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpuhost import engine
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.errors import GpuhostError, UsageError
from gpuhost.history.store import open_history
from gpuhost.model import HostReport, Verdict
from gpuhost.settings import Settings
from gpuhost.targets import Targets
from gpuhost.ui import Ui
from gpuhost.workloads import archives, gpus, verdicts
from gpuhost.workloads.definition import ALL, COMPOSE, Definition, find, folders, load
from gpuhost.workloads.parameters import lacking, resolve
from gpuhost.workloads.render import (
    NONE,
    VERIFY_PREFIX,
    as_text,
    asked,
    gpu_services,
    published_ports,
    render,
)
from gpuhost.workloads.schedule import Need, Place, waves
from gpuhost.workloads.verdicts import Judged

PLAYBOOK = "workload_proof.yml"
# What a host has to have told for its free GPUs to be known.
SECTIONS = ("nvml", "docker", "driver")
# Where a host keeps what a proof computes, until the proof ends.
FOLDER = "/var/lib/gpuhost/workloads"
OUTPUTS = "x-gpuhost-outputs"
# Most runs are of other things, and have no figures of workloads.
EARLIER_RUNS, EARLIER_FIGURES = 400, 14
Earlier = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Work:
    """A workload that a host is to prove, with the values of its parameters.

    ``gpus`` is a number of GPUs, or which ones as ``--gpus`` takes it.
    """

    definition: Definition
    values: Mapping[str, Any]
    gpus: int | str

    @property
    def name(self) -> str:
        """The workload's name."""
        return self.definition.name


def work_of(
    definition: Definition, given: Iterable[str], asked_gpus: int | str | None = None
) -> Work:
    """A workload as a verification runs it: what it computes goes where it is removed again.

    Raises:
        UsageError: a parameter is wrong.
    """
    words = list(given)
    names = {word.partition("=")[0] for word in words}
    values = {
        **resolve(definition.parameters, ()),
        **{n: p.verify for n, p in definition.parameters.items() if p.verify is not None},
    }
    given_values = resolve(definition.parameters, words)
    values |= {name: given_values[name] for name in names}
    missing = lacking(definition.parameters, values)
    if missing is not None:
        raise UsageError(
            f"{definition.name} needs {missing.name}. {missing.help}",
            f"Give it with --set {missing.name}=…, or in gpuhost_workloads.",
        )
    keeper = _keeper(definition)
    if keeper and keeper not in names:
        values[keeper] = f"{FOLDER}/{VERIFY_PREFIX}{definition.name}/outputs"
    wanted = definition.gpus if asked_gpus is None else asked_gpus
    return Work(definition, values, wanted if gpu_services(definition) else 0)


def declared(project: Path, wanted: Mapping[str, Any], names: Sequence[str]) -> tuple[Work, ...]:
    """The workloads that a host declares, or those of ``names`` with what it declares of them.

    ``wanted`` has parameters by workload, and ``gpus`` among them. A host that declares none
    proves all there are, but for those that need to be told something.

    Raises:
        UsageError: there is no such workload, or a parameter is wrong or lacks.
    """
    asked_for = names or tuple(wanted)
    if asked_for:
        return tuple(_declared(find(project, name), wanted.get(name) or {}) for name in asked_for)
    every = [load(folder) for folder in folders(project).values()]
    able = [one for one in every if not any(p.required for p in one.parameters.values())]
    return tuple(_declared(definition, {}) for definition in able)


def _declared(definition: Definition, wanted: Mapping[str, Any]) -> Work:
    words = [f"{name}={value}" for name, value in wanted.items() if name != "gpus"]
    asked = wanted.get("gpus")
    is_count = asked is None or isinstance(asked, int)
    return work_of(definition, words, asked if is_count else str(asked))


def _keeper(definition: Definition) -> str:
    """The parameter that says where the host keeps what the workload computes."""
    found = re.fullmatch(r"\$\{(\w+)\}", str(definition.compose.get(OUTPUTS, "")))
    return found[1] if found else ""


@dataclass(frozen=True)
class _Placed:
    """What is started on one host, wave after wave, and what is not, and why."""

    waves: tuple[tuple[Place, ...], ...]
    judged: Mapping[str, Judged]


def prove(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    works: Mapping[str, Sequence[Work]],
    *,
    seen: Mapping[str, Facts],
    earlier: Earlier,
) -> dict[str, Judged]:
    """Prove the workloads of each host; the results and figures of all of them, by host.

    ``seen`` is what each host told of its GPUs and of who uses them; ``earlier`` are figures
    of earlier runs with the same parameters, by host and name, newest first.

    Raises:
        UsageError: a host has no such GPU, or an archive cannot be used.
    """
    placed = {host: _place(host, works[host], seen[host]) for host in targets.names}
    told: dict[str, dict[str, Any]] = {host: {} for host in targets.names}
    for number in range(max((len(one.waves) for one in placed.values()), default=0)):
        wave = {host: one.waves[number] for host, one in placed.items() if number < len(one.waves)}
        for host, answers in _run(targets, settings, ui, works, wave).items():
            told[host] |= answers
    return {
        host: _together(
            [
                placed[host].judged.get(work.name)
                or _judged(host, work, told[host].get(work.name), earlier.get(host, {}))
                for work in works[host]
            ]
        )
        for host in targets.names
    }


def joined(report: HostReport, judged: Judged) -> HostReport:
    """A host's report with what its workloads showed."""
    return replace(
        report,
        results=(*report.results, *judged.results),
        measures={**report.measures, **judged.measures},
    )


# ------------------------------------------------------------------------------ places


def _place(host: str, works: Sequence[Work], facts: Facts) -> _Placed:
    try:
        there = tuple(gpus.devices(facts.nvml).values())
        total = len(there)
        free = [uuid for uuid in there if not gpus.busy(facts, [uuid])]
    except SectionMissingError as missing:
        return _Placed((), {w.name: _unread(host, w, str(missing)) for w in works})
    judged: dict[str, Judged] = {}
    needs, fixed = [], []
    for work in works:
        if isinstance(work.gpus, str) and work.gpus not in (ALL, NONE):
            chosen = gpus.choose(host, facts.nvml, work.gpus)
            users = gpus.busy(facts, chosen)
            if users:
                judged[work.name] = _busy(host, work, f"in use by {'; '.join(users)}")
            else:
                fixed.append((Place(work.name, chosen),))
            continue
        count = total if work.gpus == ALL else 0 if work.gpus == NONE else int(work.gpus)
        if count > total or (work.gpus == ALL and not total):
            judged[work.name] = _too_few(host, work, total)
        elif count > len(free):
            judged[work.name] = _busy(host, work, f"{len(free)} of {total} GPUs are free")
        else:
            ports = published_ports(work.definition, work.values)
            # What is measured has the host to itself.
            needs.append(Need(work.name, count, ports, bool(work.definition.measures)))
    return _Placed((*fixed, *waves(needs, free)), judged)


def _unread(host: str, work: Work, why: str) -> Judged:
    return verdicts.not_proven(work.definition, Verdict.UNKNOWN, why, f"gpuhost verify {host}")


def _busy(host: str, work: Work, why: str) -> Judged:
    return verdicts.not_proven(
        work.definition,
        Verdict.SKIP,
        f"the GPUs that it needs are busy: {why}",
        f"When they are free: gpuhost workload verify {host} {work.name}",
    )


def _too_few(host: str, work: Work, total: int) -> Judged:
    return verdicts.not_proven(
        work.definition,
        Verdict.FAIL,
        f"it needs {work.gpus} GPUs, and the host has {total}",
        f"gpuhost verify {host}, or declare fewer in gpuhost_workloads",
    )


# --------------------------------------------------------------------------- on the host


def _run(
    targets: Targets,
    settings: Settings,
    ui: Ui,
    works: Mapping[str, Sequence[Work]],
    wave: Mapping[str, Sequence[Place]],
) -> dict[str, dict[str, Any]]:
    """Prove one wave on all hosts; what each told, by workload."""
    with tempfile.TemporaryDirectory(prefix="gpuhost-proof-") as folder:
        asked = {}
        for host, places in wave.items():
            own = {work.name: work for work in works[host]}
            asked[host] = [_ask(own[place.name], place, Path(folder, host)) for place in places]
        names = ", ".join(dict.fromkeys(p.name for places in wave.values() for p in places))
        hosts = targets.only(wave)
        with ui.stage(f"workloads {names}", hosts.names):
            outcome = engine.run(
                PLAYBOOK,
                targets.inventory,
                hosts.names,
                {"gpuhost_works": asked, "gpuhost_works_files": folder},
                ui.listen,
                forks=settings.forks,
            )
    found: dict[str, dict[str, Any]] = {}
    for host in hosts.names:
        end = outcome.hosts[host]
        proofs = end.results.get("proofs", {}) if end.ok else {}
        found[host] = {name.removeprefix(VERIFY_PREFIX): told for name, told in proofs.items()}
        for place in wave[host]:
            found[host].setdefault(place.name, {"error": end.message, "remedy": end.remedy})
    return found


def _ask(work: Work, place: Place, folder: Path) -> dict[str, Any]:
    """Write the files of a workload; what the module is asked to do with them."""
    own = replace(work.definition, name=f"{VERIFY_PREFIX}{work.name}")
    files = folder / own.name
    archives.lay_out(own, work.values, files)
    compose = render(own, work.values, place.gpus)
    probes = [asked(own, probe, work.values) for probe in own.probes]
    Path(files, COMPOSE).write_text(as_text(compose), encoding="utf-8")
    return {
        "name": own.name,
        "kind": own.kind,
        "within": own.within,
        "gpu_services": list(gpu_services(own)),
        "gpus": list(place.gpus),
        "probes": probes,
        "ports": sorted(_host_ports(compose, probes)),
    }


def _host_ports(compose: Mapping[str, Any], probes: Iterable[Mapping[str, Any]]) -> set[int]:
    """The ports that a service on the host's own network is asked at: nobody else may answer."""
    if all(s.get("network_mode") != "host" for s in compose["services"].values()):
        return set()
    return {int(probe["http"]["port"]) for probe in probes if "http" in probe}


def _judged(
    host: str, work: Work, told: Mapping[str, Any] | None, earlier: Mapping[str, Sequence[float]]
) -> Judged:
    if told is None or "error" in told:
        why = (told or {}).get("error") or "the host did not say what came of it"
        remedy = (told or {}).get("remedy") or f"gpuhost verify {host}"
        return verdicts.not_proven(work.definition, Verdict.UNKNOWN, why, remedy)
    return verdicts.judge(host, work.definition, told, earlier)


def _together(judged: Sequence[Judged]) -> Judged:
    results = tuple(result for one in judged for result in one.results)
    return Judged(results, {name: v for one in judged for name, v in one.measures.items()})


def earlier_figures(settings: Settings, hosts: Sequence[str]) -> Earlier:
    """Each host's figures of earlier runs, newest first; none where there is no history."""
    try:
        with open_history(settings.state_dir) as history:
            return {host: _newest(history.trends(host, EARLIER_RUNS)) for host in hosts}
    except GpuhostError:
        return {}


def _newest(trends: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    return {
        name: [point.value for point in reversed(points)][:EARLIER_FIGURES]
        for name, points in trends.items()
    }
