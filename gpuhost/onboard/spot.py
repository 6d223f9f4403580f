"""Where in the inventory a new host belongs: which inventory, which file, which group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpuhost import inventory as inventory_room
from gpuhost.errors import InventoryError, UsageError
from gpuhost.inventory import Host, Inventory
from gpuhost.onboard import files, yaml_text
from gpuhost.onboard.host_key import KNOWN_HOSTS
from gpuhost.onboard.yaml_text import Value, YamlTextError
from gpuhost.settings import Settings
from gpuhost.suggest import did_you_mean
from gpuhost.targets import inventories

ANSIBLES_OWN = ("all", "ungrouped")
USUAL_GROUP = "gpu_hosts"
SUFFIXES = (".yml", ".yaml")
# What the group says about connecting; passwords are none of our business.
CONNECTION = (
    "ansible_user",
    "ansible_port",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "ansible_python_interpreter",
    "ansible_pipelining",
    "ansible_remote_tmp",
)
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Spot:
    """A place for a host: ``path`` leads to the group's hosts in ``file``.

    ``host`` has the variables that the inventory gives it there, ``taken``
    says that the inventory has a host of this name.
    """

    inventory: Path
    file: Path
    group: str
    path: tuple[str, ...]
    host: Host
    taken: bool

    @property
    def known_hosts(self) -> Path:
        """The file beside the inventory that host keys are pinned in."""
        return self.file.parent / KNOWN_HOSTS

    def write(self, path: tuple[str, ...], key: str, value: Value) -> None:
        """Add ``key: value`` below the group's hosts, in one step; the rest of the file stays.

        Raises:
            InventoryError: the file cannot be added to, or not be written.
        """
        try:
            changed = yaml_text.insert(_text(self.file), (*self.path, *path), key, value)
        except YamlTextError as error:
            raise InventoryError(
                f"Nothing can be added to the group {self.group} in {self.file}: {error}.",
                "Write its hosts as a block, a host a line, or choose another group.",
            ) from error
        files.replace(self.file, changed)


def find(settings: Settings, name: str, group: str | None) -> Spot:
    """The place for a host of this name in a group.

    Raises:
        UsageError: the name, the group or the inventory cannot be, or is not told.
        DesiredStateError: what the group declares is wrong.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a host.",
            "Use letters, digits, dots and hyphens, e.g. gpu-07.",
        )
    inventory = inventory_room.parse(_inventory(settings))
    group = _group(inventory, group)
    if name in inventory.groups:
        raise InventoryError(
            f"{name} is a group of {inventory.path}.", "Give the host another name."
        )
    file, path = _written(inventory.path, group)
    for needed in (file, file.parent / KNOWN_HOSTS):
        files.require_writable(needed)
    taken = name in inventory.hosts
    if taken:
        (host,) = inventory.select([name], CONNECTION)
    else:
        host = inventory.newcomer(name, group, file.parent, CONNECTION)
    inventory_room.desired(host)
    return Spot(inventory.path, file, group, (*path, "hosts"), host, taken)


def _inventory(settings: Settings) -> Path:
    found = inventories(settings)
    if len(found) > 1:
        raise UsageError(
            f"There are several inventories: {', '.join(map(str, found))}.",
            "Say which one the host belongs to: -i PATH",
        )
    return found[0]


def _group(inventory: Inventory, group: str | None) -> str:
    names = [name for name in inventory.groups if name not in ANSIBLES_OWN]
    if group is not None and group not in names:
        raise InventoryError(
            f"--group {group}: {inventory.path} has no such group.{did_you_mean(group, names)}",
            f"Its groups: {', '.join(names) or 'none'}.",
        )
    if group is None and len(names) != 1 and USUAL_GROUP not in names:
        raise UsageError(
            f"Which group of {inventory.path} does the host belong to?",
            f"Say it with --group, one of: {', '.join(names) or 'none'}.",
        )
    return group or (USUAL_GROUP if USUAL_GROUP in names else names[0])


def _written(inventory: Path, group: str) -> tuple[Path, tuple[str, ...]]:
    """The file that the group is written in, and where; best is where it has hosts."""
    places: list[tuple[int, Path, tuple[str, ...]]] = []
    for file in _files(inventory):
        try:
            root = yaml_text.compose(_text(file))
        except YamlTextError as error:
            if inventory == file:
                raise InventoryError(
                    f"{file} is no YAML inventory: {error}.",
                    "Hosts can only be added to YAML files; others are to be edited by hand.",
                ) from error
            continue
        for path in yaml_text.group_paths(root, group):
            body = yaml_text.at(root, path)
            has_hosts = yaml_text.child(body, "hosts") is not None if body else False
            places.append((2 * has_hosts + bool(yaml_text.keys(body)), file, path))
    if not places:
        raise InventoryError(
            f"The group {group} is in no YAML file of {inventory}.",
            "Hosts can only be added to YAML files: declare the group in one.",
        )
    _, file, path = max(places, key=lambda place: place[0])
    return file, path


def _files(inventory: Path) -> Iterator[Path]:
    if not inventory.is_dir():
        yield inventory
        return
    for path in sorted(inventory.iterdir()):
        if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith("."):
            yield path


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InventoryError(f"{file} is not written in UTF-8.", "Convert it.") from error
    except OSError as error:
        raise InventoryError(
            f"{file} cannot be read: {error.strerror}", "Make it readable."
        ) from error
