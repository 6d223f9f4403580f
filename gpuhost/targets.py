"""From what was typed to hosts: which inventory, which hosts, what each should be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpuhost import site_checks
from gpuhost.errors import InventoryError
from gpuhost.inventory import Host, Inventory, desired_states, load
from gpuhost.model import Desired
from gpuhost.settings import Settings

EXAMPLE = "example"


@dataclass(frozen=True)
class Targets:
    """The hosts of one command, all of one inventory, with their desired state.

    ``members`` are the names of all hosts that the inventory has. ``source``
    is the inventory as Ansible reads it, to be asked more.
    """

    inventory: Path
    hosts: tuple[Host, ...]
    desired: Mapping[str, Desired]
    members: Collection[str] = ()
    source: Inventory | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts' inventory names, in inventory order."""
        return tuple(host.name for host in self.hosts)

    def declare(
        self, host: str, roles: Sequence[str], facts: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """What ``roles`` declare for a host with these facts, and why others could not be told.

        Raises:
            InventoryError: Ansible ended without an answer.
        """
        if self.source is None:
            return {}, dict.fromkeys(roles, "there is no inventory to ask")
        return self.source.declare(host, roles, facts)

    def only(self, names: Collection[str]) -> Targets:
        """The same, of these hosts only."""
        return replace(self, hosts=tuple(host for host in self.hosts if host.name in names))

    def without(self, names: Collection[str]) -> Targets:
        """The same, of all but these hosts."""
        return replace(self, hosts=tuple(host for host in self.hosts if host.name not in names))


def inventories(settings: Settings) -> tuple[Path, ...]:
    """The inventories to look in: the one asked for, else all of the project's own."""
    if settings.inventory is not None:
        return (settings.inventory,)
    folder = settings.project / "inventories"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    others = (EXAMPLE, site_checks.FOLDER)
    own = tuple(p for p in found if p.name not in others and not p.name.startswith("."))
    if not own:
        raise InventoryError(
            f"There is no inventory: nothing but the example is in {folder}.",
            "Name one with -i PATH, copy inventories/example to inventories/site, "
            "or start a rehearsal host with: gpuhost lab up",
        )
    return own


def resolve(settings: Settings, patterns: Sequence[str], limit: str | None = None) -> Targets:
    """The hosts that ``patterns`` name, and ``limit`` too, with validated desired state.

    Raises:
        InventoryError: no inventory, an unknown host, nothing left by the
            limit, or a name that more than one inventory knows.
        DesiredStateError: a host's variables are wrong.
    """
    inventory, hosts = _find(inventories(settings), patterns)
    if limit is not None:
        allowed = {host.name for host in inventory.select([limit])}
        hosts = tuple(host for host in hosts if host.name in allowed)
        if not hosts:
            raise InventoryError(
                f"--limit {limit} leaves no host of {' '.join(patterns)}.",
                "See which hosts there are with: gpuhost hosts",
            )
    names = inventory.hosts
    return Targets(inventory.path, hosts, desired_states(hosts), names, inventory)


def connection(settings: Settings, name: str, variables: Sequence[str]) -> Host:
    """One host with those of its variables whose names begin with one of ``variables``.

    Raises:
        InventoryError: no inventory, not exactly one host, a name that more than one
            inventory knows, or a variable that Ansible cannot resolve.
    """
    inventory, hosts = _find(inventories(settings), (name,))
    if len(hosts) != 1:
        names = ", ".join(host.name for host in hosts)
        raise InventoryError(f"{name} is {len(hosts)} hosts: {names}.", "Name one of them.")
    (host,) = inventory.select((name,), variables)
    for variable, why in host.unresolved.items():
        if variable.startswith(tuple(variables)):
            raise InventoryError(f"{host.name}: {variable} cannot be resolved: {why}")
    return host


def _find(paths: Sequence[Path], patterns: Sequence[str]) -> tuple[Inventory, tuple[Host, ...]]:
    if len(paths) == 1:
        inventory = load(paths[0])
        return inventory, inventory.select(patterns)
    matches: list[tuple[Inventory, tuple[Host, ...]]] = []
    errors: list[InventoryError] = []
    for path in paths:
        try:
            inventory = load(path)
            matches.append((inventory, inventory.select(patterns)))
        except InventoryError as error:
            errors.append(error)
    if len(matches) > 1:
        places = ", ".join(str(inventory.path) for inventory, _ in matches)
        raise InventoryError(
            f"{' '.join(patterns)} is in more than one inventory: {places}.",
            "Choose one with -i PATH.",
        )
    if not matches:
        raise InventoryError(
            " ".join(error.message for error in errors), errors[0].remedy if errors else ""
        )
    return matches[0]
