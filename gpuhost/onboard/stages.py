"""The stages from an address to an entry in the inventory; each is kept when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpuhost.errors import GpuhostError, InventoryError, UsageError
from gpuhost.onboard import access, entry, host_key, look
from gpuhost.onboard.entry import Connection
from gpuhost.onboard.host_key import HostKey, Place
from gpuhost.onboard.login import Credentials, login, read_private
from gpuhost.onboard.look import Found
from gpuhost.onboard.progress import Progress
from gpuhost.onboard.spot import Spot
from gpuhost.ui import Ui

HOST_KEY, LOGIN, FIT, LOOK, ENTRY = "host key", "login", "access", "look", "entry"


@dataclass(frozen=True)
class Order:
    """What was asked for.

    ``fingerprint`` is the one that the host must have; None asks. ``key`` is
    the private key to log in with, ``install_key`` the public one to install.
    """

    name: str
    place: Place
    user: str
    fingerprint: str | None = None
    key: Path | None = None
    install_key: Path | None = None
    by_password: bool = False
    passwordless_sudo: bool = False


class Person(Protocol):
    """Who answers what cannot be known; may raise instead."""

    def trust(self, place: Place, key: HostKey) -> None:
        """Come back if the key is the host's."""

    def password(self) -> str:
        """The user's password on the host; asked for at most once."""


@dataclass(frozen=True)
class Onboarding:
    """One host on its way into the inventory."""

    order: Order
    spot: Spot
    progress: Progress
    ui: Ui
    person: Person

    def admit(self) -> None:
        """Go through the stages that are not done yet.

        Raises:
            GpuhostError: whatever stands against the host; the stages before it are kept.
        """
        self._require_free_name()
        if self.progress.stages:
            self._say(f"goes on after: {', '.join(self.progress.stages)}")
        with self._told():
            key = self._host_key()
            self._login(key)
            self._fit(key)
            self._enter(self._look())

    @property
    def connection(self) -> Connection:
        """How Ansible reaches the host from now on."""
        return Connection(self.order.place, self.order.user, ansible_key(self.order))

    def _require_free_name(self) -> None:
        if self.spot.taken and ENTRY not in self.progress.stages:
            raise InventoryError(
                f"{self.order.name} is in {self.spot.inventory} already, and not by an onboarding "
                "with this address, user and group.",
                f"Give the host another name, or take it as it is: gpuhost provision "
                f"{self.order.name}",
            )

    def _host_key(self) -> HostKey:
        place, known_hosts = self.order.place, self.spot.known_hosts
        known = host_key.pinned(known_hosts, place)
        pinned = next((one for one in known if one.fingerprint == self._trusted), None)
        if pinned and self.order.fingerprint in (None, pinned.fingerprint):
            return pinned
        key = host_key.read(place, tuple(one.kind for one in known))
        if self.order.fingerprint is not None:
            host_key.expect(key, self.order.fingerprint, place)
        if known:
            host_key.compare(key, known, place, known_hosts)
            self._say(f"host key {key.fingerprint} is the one in {known_hosts}")
        else:
            if self.order.fingerprint is None:
                self.person.trust(place, key)
            host_key.pin(known_hosts, place, key)
            self._say(f"host key {key.fingerprint} pinned in {known_hosts}")
        self.progress.keep(HOST_KEY, key.fingerprint)
        return key

    @property
    def _trusted(self) -> str | None:
        """The fingerprint that an earlier run was told to trust."""
        found: str | None = self.progress.found(HOST_KEY)
        return found

    def _login(self, key: HostKey) -> None:
        if self.progress.found(LOGIN):
            return
        order = self.order
        line = access.read_public(order.install_key) if order.install_key else ""
        password = self.person.password() if order.by_password else None
        installed = False
        with login(order.place, key, Credentials(order.user, order.key, password)) as session:
            if line:
                installed = access.install_key(session, line)
        how = "by password" if order.by_password else "by key"
        more = f", and {order.install_key} is installed" if installed else ""
        self._say(f"{order.user} logs in {how}{more}")
        self.progress.keep(LOGIN, how)

    def _fit(self, key: HostKey) -> None:
        if self.progress.found(FIT):
            return
        order = self.order
        who = Credentials(order.user, usable_key(order))
        with login(order.place, key, who) as session:
            if not access.has_sudo(session, order.user):
                if not order.passwordless_sudo:
                    raise access.must_not_ask(order.user)
                access.allow_sudo(session, order.user, self.person.password())
                self._say(f"{order.user} uses sudo without a password from now on")
            version = access.python_version(session)
        self._say(f"{order.user} becomes root, Python {version}")
        self.progress.keep(FIT, version)

    def _look(self) -> Found:
        kept = self.progress.found(LOOK)
        if kept:
            return Found.read(kept)
        variables = entry.to_look(self.connection, self.spot.host.variables, self.spot.known_hosts)
        found = look.look(self.order.name, variables, self.ui)
        self._say(found.words)
        self.progress.keep(LOOK, found.fields())
        return found

    def _enter(self, found: Found) -> None:
        if self.spot.taken:
            return
        inherited = self.spot.host.variables
        made = entry.make(self.connection, inherited, self.spot.known_hosts, found)
        # Kept first: should this run end in between, the next one knows whose entry it is.
        self.progress.keep(ENTRY, made)
        self.spot.write((), self.order.name, made)
        self._say(f"is in {self.spot.file} now, in the group {self.spot.group}")
        against = entry.contradictions(inherited, found)
        if against:
            self._say(against)

    def _say(self, words: str) -> None:
        self.ui.say(f"{self.order.name}: {words}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Have every error name the host."""
        try:
            yield
        except GpuhostError as error:
            error.message = f"{self.order.name}: {error.message}"
            error.args = (error.message,)
            raise


def usable_key(order: Order) -> Path | None:
    """The private key to log in with once one is installed; None leaves it to the agent."""
    if order.install_key is None:
        return order.key
    private = _private_half(order.install_key)
    try:
        read_private(private)
    except UsageError:
        return None
    return private


def ansible_key(order: Order) -> Path | None:
    """The file that tells ssh which key to take; a public one has it ask the agent."""
    if order.install_key is None:
        return order.key
    private = _private_half(order.install_key)
    return private if private.exists() else access.public_half(order.install_key)


def _private_half(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".pub" else path
