"""The lab's records: what exists, and what was taken from the machine for it.

A record is written before the thing that it names is made, and removed after
that thing is gone, so that whatever a crash leaves behind is on record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gpuhost.files import replace_text

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Identity of the machine's current boot; control groups and links do not outlive it."""
    return BOOT_ID.read_text().strip()


@dataclass(frozen=True)
class Holdings:
    """What the lab holds of the machine, to be given back by exactly this record.

    ``cgroups`` are folders in the cgroup file systems: every process of the
    lab's hosts is in one, so ending those ends nothing else. ``rules`` are
    iptables arguments after ``-I``.
    """

    boot_id: str = ""
    cgroups: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    rules: tuple[tuple[str, ...], ...] = ()
    folders: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Holdings:
        """Holdings from their JSON form."""
        return cls(
            boot_id=fields["boot_id"],
            cgroups=tuple(fields["cgroups"]),
            mounts=tuple(fields["mounts"]),
            links=tuple(fields["links"]),
            rules=tuple(tuple(rule) for rule in fields["rules"]),
            folders=tuple(fields["folders"]),
        )


@dataclass(frozen=True)
class HostRecord:
    """One lab host: what it is, where its parts lie and what it holds of the machine.

    ``base`` is the read-only root file system that the host's own lies over,
    ``group`` its control group, ``machine`` its name among nspawn machines.
    ``variables`` are the Ansible variables that follow from its release.
    ``complete`` says that its root file system was furnished to the end,
    ``histories`` are those that it is to have, ``lived`` those that it has.
    ``listed`` says whether the lab's inventories name it; one that is not is
    there to be onboarded.
    """

    name: str
    address: str
    release: str
    gpus: int
    model: str
    machine: str
    base: str
    folder: str
    group: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    histories: tuple[str, ...] = ()
    lived: tuple[str, ...] = ()
    listed: bool = True
    holdings: Holdings = field(default_factory=Holdings)

    def part(self, name: str) -> Path:
        """A file or folder of the host: root, upper, work, docker, containerd, console.log."""
        return Path(self.folder) / name


@dataclass(frozen=True)
class LabRecord:
    """What all hosts share: the network, and the inventory folders that name the hosts."""

    holdings: Holdings = field(default_factory=Holdings)
    inventories: tuple[str, ...] = ()

    def with_inventory(self, folder: Path) -> LabRecord:
        """The same lab, with one more inventory folder on record."""
        kept = dict.fromkeys((*self.inventories, str(folder)))
        return replace(self, inventories=tuple(kept))


class Store:
    """The records in a lab's state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def hosts(self) -> tuple[HostRecord, ...]:
        """All hosts on record, by name."""
        paths = sorted((self.folder / "hosts").glob("*.json"))
        return tuple(_read_host(path) for path in paths)

    def host(self, name: str) -> HostRecord | None:
        """The host of this name, or None."""
        path = self._host_path(name)
        return _read_host(path) if path.exists() else None

    def keep_host(self, record: HostRecord) -> None:
        """Write the host's record."""
        write_json(self._host_path(record.name), asdict(record))

    def forget_host(self, name: str) -> None:
        """Remove the host's record, once what it names is gone."""
        self._host_path(name).unlink(missing_ok=True)

    def host_folder(self, name: str) -> Path:
        """Where the parts of a host of this name belong."""
        return self.folder / "hosts" / name

    def lab(self) -> LabRecord:
        """The record of what all hosts share; an empty one where there is none."""
        try:
            fields = json.loads(self._lab_path.read_text())
        except FileNotFoundError:
            return LabRecord()
        return LabRecord(Holdings.read(fields["holdings"]), tuple(fields["inventories"]))

    def keep_lab(self, record: LabRecord) -> None:
        """Write the record of what all hosts share."""
        write_json(self._lab_path, asdict(record))

    def forget_lab(self) -> None:
        """Remove the record of what all hosts share."""
        self._lab_path.unlink(missing_ok=True)

    @property
    def _lab_path(self) -> Path:
        return self.folder / "lab.json"

    def _host_path(self, name: str) -> Path:
        return self.folder / "hosts" / f"{name}.json"


def _read_host(path: Path) -> HostRecord:
    fields = json.loads(path.read_text())
    tuples = {name: tuple(fields.get(name, ())) for name in ("histories", "lived")}
    return HostRecord(**{**fields, **tuples, "holdings": Holdings.read(fields["holdings"])})


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: a reader sees the old content or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(data, indent=1))
