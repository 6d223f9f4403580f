"""Bringing the lab up: from nothing to hosts that an operator can log in to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from gpuhost.errors import LabError, UsageError
from gpuhost.lab import (
    base,
    histories,
    host,
    inventory_file,
    keyed,
    keys,
    mirror,
    network,
    registry,
    releases,
    requirements,
    settings,
)
from gpuhost.lab.base import Base
from gpuhost.lab.furnish import Servers, furnish, make_folders
from gpuhost.lab.gpu import guest
from gpuhost.lab.gpu import inventory as gpu_inventory
from gpuhost.lab.gpu import models as gpu_models
from gpuhost.lab.mirror import Mirror
from gpuhost.lab.registry import Registry
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord, Store

LOCK = "lab"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBERED = re.compile(r"lab-0*([1-9]\d{0,2})")
FIRST_NUMBERED = 10
FIRST_OTHER = 210
LAST_ADDRESS = 254

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Ground:
    """What hosts stand on: their base system and the servers."""

    base: Base
    mirror: Mirror
    registry: Registry


def up(
    names: Sequence[str],
    *,
    gpus: int,
    model: str,
    release: str,
    project: Path,
    progress: Progress,
    past: Sequence[str] = (),
    listed: bool = True,
) -> tuple[HostRecord, ...]:
    """Have lab hosts of these names run, each with so many simulated GPUs of a model.

    ``release`` is one of ``RELEASES``; ``past`` names the histories of new hosts.
    ``listed`` False leaves new hosts out of the inventories, to be onboarded.
    A host that runs already is left as it is, one that is off is booted again. The
    hosts' inventory is written to
    ``project/inventories/lab``. The first run on a machine builds the base
    system, the package mirror and the images: minutes; later runs take
    seconds.

    Raises LabError where this machine cannot run the lab or a host does not
    come up, and UsageError for names, models or releases that cannot be.
    """
    where = settings.load()
    wanted = replace(_wanted(names, gpus, model, release, past), listed=listed)
    requirements.check_requirements()
    with keyed.locked(where.state, LOCK):
        store = Store(where.state)
        records = _records(where, store, wanted)
        network.ensure(where, store)
        ground = _prepare(where, store, release, progress)
        started = [_start(where, store, record, ground, progress) for record in records]
        register(where, store, project.absolute() / inventory_file.FOLDER)
        for record in started:
            host.await_login(where.state, record)
            _live(where, store, record, ground.mirror, progress)
            progress(f"{record.name} is up at {record.address}")
    return tuple(started)


def _live(
    where: LabSettings, store: Store, record: HostRecord, packages: Mirror, progress: Progress
) -> None:
    """Give a running host what is left of its past, and keep on record how far that came."""
    for name in (name for name in record.histories if name not in record.lived):
        history = histories.HISTORIES[name]
        progress(f"{record.name} gets a past: {history.about}")
        history.live(histories.Past(record, where, packages))
        record = replace(record, lived=(*record.lived, name))
        store.keep_host(record)


@dataclass(frozen=True)
class _Wanted:
    names: tuple[str, ...]
    gpus: int
    model: str
    release: str
    histories: tuple[str, ...]
    listed: bool = True


def _wanted(
    names: Sequence[str], gpus: int, model: str, release: str, past: Sequence[str]
) -> _Wanted:
    """What is wanted, the model under its key, after everything in it was found to exist."""
    lived = histories.check(past)
    is_debian = releases.find(release).is_debian
    if lived and not is_debian:
        raise UsageError(
            f"Hosts of {release} have no past: what histories leave behind is Debian's.",
            "Leave --history out, or choose --os debian12 or debian13.",
        )
    found = gpu_models.find(model).key
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a host.",
                "Use lower-case letters, digits and hyphens, e.g. lab-01.",
            )
        gpu_inventory.plan(host=name, gpus=gpus, model=found)
    return _Wanted(tuple(dict.fromkeys(names)), gpus, found, release, lived)


def _records(where: LabSettings, store: Store, wanted: _Wanted) -> list[HostRecord]:
    """Records of the hosts wanted: those there are, and new ones that are not yet kept."""
    known = {record.name: record for record in store.hosts()}
    taken = {record.address for record in known.values()}
    records = []
    for name in wanted.names:
        record = known.get(name) or host.describe(
            where,
            name,
            choose_address(where, name, taken),
            release=wanted.release,
            gpus=wanted.gpus,
            model=wanted.model,
            histories=wanted.histories,
            listed=wanted.listed,
        )
        _refuse_change(record, wanted)
        taken.add(record.address)
        records.append(record)
    return records


def _refuse_change(record: HostRecord, wanted: _Wanted) -> None:
    there = (record.gpus, record.model, record.release)
    if there != (wanted.gpus, wanted.model, wanted.release):
        raise LabError(
            f"{record.name} exists with {record.gpus} × {record.model} on {record.release}, not "
            f"with {wanted.gpus} × {wanted.model} on {wanted.release}.",
            f"Remove it first: gpuhost lab down {record.name}",
        )
    if wanted.histories and record.histories != wanted.histories:
        raise LabError(
            f"{record.name} exists with another past: {', '.join(record.histories) or 'none'}.",
            f"Remove it first: gpuhost lab down {record.name}",
        )


def choose_address(where: LabSettings, name: str, taken: Collection[str]) -> str:
    """A free address for a host: lab-01 gets .11, lab-02 .12 …, other names one from .210 on.

    Raises LabError where the subnet is full.
    """
    numbered = _NUMBERED.fullmatch(name)
    preferred = FIRST_NUMBERED + int(numbered[1]) if numbered else FIRST_OTHER
    usual = [preferred] if preferred < FIRST_OTHER else []
    for number in (*usual, *range(FIRST_OTHER, LAST_ADDRESS + 1)):
        address = str(where.subnet[number])
        if address not in taken:
            return address
    raise LabError(
        f"{where.subnet} has no free address for {name}.", "Remove hosts: gpuhost lab down NAME"
    )


def _prepare(where: LabSettings, store: Store, release: str, progress: Progress) -> _Ground:
    """Base, mirror and registry: side by side, since each waits for downloads of its own."""
    wanted = {release, *(record.release for record in store.hosts())}
    with ThreadPoolExecutor() as pool:
        based = pool.submit(base.ensure, where.cache, releases.find(release), progress)
        mirrored = pool.submit(
            mirror.ensure,
            where.cache,
            where.state,
            where.address,
            [releases.find(name) for name in sorted(wanted)],
            progress=progress,
        )
        registered = pool.submit(
            registry.ensure, where.cache, where.state, where.address, progress=progress
        )
        return _Ground(based.result(), mirrored.result(), registered.result())


def _start(
    where: LabSettings, store: Store, record: HostRecord, ground: _Ground, progress: Progress
) -> HostRecord:
    """Start a host unless it runs; its record as it is then."""
    if host.is_running(record):
        return record
    progress(f"Starting {record.name} ({record.release}, {record.gpus} × {record.model})")
    if not record.complete:
        record = _create(where, store, record, ground)
    host.stop(record)
    claimed = host.claim(record)
    store.keep_host(claimed)
    host.mount(claimed)
    host.boot(where, claimed)
    return claimed


def _create(where: LabSettings, store: Store, record: HostRecord, ground: _Ground) -> HostRecord:
    """Make the host's root file system, over what an interrupted attempt may have left."""
    host.remove(record)
    variables = ground.mirror.variables(ground.base.release)
    claimed = host.claim(replace(record, base=str(ground.base.root), variables=variables))
    store.keep_host(claimed)
    make_folders(claimed)
    host.mount(claimed)
    _furnish(where, claimed, ground)
    complete = replace(claimed, complete=True)
    store.keep_host(complete)
    return complete


def _furnish(where: LabSettings, record: HostRecord, ground: _Ground) -> None:
    servers = Servers(
        address=where.address,
        names=ground.registry.names,
        ca=ground.registry.ca,
        package_sources=ground.mirror.own_sources(ground.base.release),
    )
    furnish(record, servers, keys.operator_key(where.state))
    guest.install(record.part("root"))
    gpus = gpu_inventory.plan(host=record.name, gpus=record.gpus, model=record.model)
    gpu_inventory.write(record.part("root"), gpus)


def register(where: LabSettings, store: Store, folder: Path) -> None:
    """Write the inventory of all lab hosts to a folder, which is put on record first."""
    store.keep_lab(store.lab().with_inventory(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_inventories(where, store)


def write_inventories(where: LabSettings, store: Store) -> None:
    """Have every inventory on record name the hosts that there are now, with their keys.

    A project that was deleted meanwhile is not brought back by it.
    """
    records = store.hosts()
    (where.state / host.KNOWN_HOSTS).write_text(keys.known_hosts(records))
    for folder in map(Path, store.lab().inventories):
        if folder.is_dir():
            inventory_file.write(folder, records, keys.operator_key(where.state))
