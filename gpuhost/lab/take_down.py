"""Taking the lab down: by its records, whatever state it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import (
    bring_up,
    holdings,
    host,
    inside,
    inventory_file,
    keyed,
    mirror,
    registry,
    requirements,
    settings,
)
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord, Store

Progress = Callable[[str], None]


def down(names: Sequence[str], progress: Progress) -> None:
    """Remove these hosts, and with the last one the lab's servers and network as well.

    Works on hosts that have crashed and after a reboot of the machine.
    Raises LabError for a host that the lab has not, and, once everything
    else is removed, for what could not be.
    """
    requirements.check_privilege()
    where = settings.load()
    with keyed.locked(where.state, bring_up.LOCK):
        store = Store(where.state)
        records = [inside.recorded(name) for name in dict.fromkeys(names)]
        _remove(where, store, records, progress)


def down_all(progress: Progress) -> None:
    """Remove every host, the servers, the network and the inventories; the cache stays.

    Harmless where nothing is up. Raises LabError for what could not be removed.
    """
    requirements.check_privilege()
    where = settings.load()
    with keyed.locked(where.state, bring_up.LOCK):
        store = Store(where.state)
        _remove(where, store, store.hosts(), progress)


def _remove(
    where: LabSettings, store: Store, records: Iterable[HostRecord], progress: Progress
) -> None:
    failures = []
    for record in records:
        try:
            host.remove(record)
        except LabError as error:
            failures.append(error)
            continue
        store.forget_host(record.name)
        progress(f"{record.name} is removed")
    if store.hosts():
        bring_up.write_inventories(where, store)
    else:
        _remove_ground(where, store)
        progress("The lab is down")
    if failures:
        raise LabError(
            " ".join(failure.message for failure in failures), failures[0].remedy
        ) from failures[0]


def _remove_ground(where: LabSettings, store: Store) -> None:
    mirror.stop(where.state)
    registry.stop(where.state)
    record = store.lab()
    holdings.release(record.holdings)
    for folder in record.inventories:
        inventory_file.remove(Path(folder))
    (where.state / host.KNOWN_HOSTS).unlink(missing_ok=True)
    store.forget_lab()
