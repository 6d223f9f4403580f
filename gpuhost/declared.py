"""What the roles declare for one host, and what stands against bringing it about. Pure.

The roles' variables ``__ROLE_declared`` are resolved by Ansible itself
(:meth:`gpuhost.inventory.Inventory.declare`), for the operating system that the
evidence shows; what stands in the way is judged by the code of the role
preflight, over the state that its code read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpuhost import role_modules
from gpuhost.checks.facts import Facts, SectionMissingError
from gpuhost.components import ROLES

PREFLIGHT = "preflight"
# ID in /etc/os-release → how Ansible calls the distribution, and its family.
DISTRIBUTIONS = {
    "debian": ("Debian", "Debian"),
    "ubuntu": ("Ubuntu", "Debian"),
    "rhel": ("RedHat", "RedHat"),
    "centos": ("CentOS", "RedHat"),
    "rocky": ("Rocky", "RedHat"),
    "almalinux": ("AlmaLinux", "RedHat"),
}
# Where no kernel modules are possible there is a blocker; the rest can be told all the same.
ANY_MODULES = "open"

# host, roles, facts → declared by role, unresolved by role
Declare = Callable[
    [str, Sequence[str], Mapping[str, Any]], tuple[Mapping[str, Any], Mapping[str, str]]
]


@dataclass(frozen=True)
class Key:
    """A repository's signing key."""

    path: str
    fingerprint: str


@dataclass(frozen=True)
class Declared:
    """What one role makes of a host.

    ``files`` are path → content, ``packages`` name → version or pattern (empty:
    any will do), ``held`` and ``not_held`` patterns of names. ``first`` are
    packages that come before the others, ``stream`` is of dnf's module of them.
    dockerd is restarted when a file of ``read_at_start`` is newer than it runs, and
    when a package of ``restarting`` changes.
    """

    repository: str = ""
    key: Key | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    stream: str = ""
    held: tuple[str, ...] = ()
    not_held: tuple[str, ...] = ()
    daemon_config: Mapping[str, Any] = field(default_factory=dict)
    read_at_start: tuple[str, ...] = ()
    restarting: tuple[str, ...] = ()
    may_reboot: bool = True

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Declared:
        """From the value of a role's variable."""
        key = document.get("key")
        lists = (
            *("absent", "conflicting", "first", "held", "not_held"),
            *("read_at_start", "restarting"),
        )
        return cls(
            repository=document.get("repository", ""),
            key=Key(key["path"], normalized(key["fingerprint"])) if key else None,
            files=document.get("files", {}),
            packages=document.get("packages", {}),
            stream=document.get("stream", ""),
            daemon_config=document.get("daemon_config", {}),
            may_reboot=document.get("may_reboot", True),
            **{name: tuple(document.get(name, ())) for name in lists},
        )


def normalized(fingerprint: str) -> str:
    """A fingerprint as the module that installs keys compares it."""
    found: str = role_modules.load("signing_keys").normalized(fingerprint)
    return found


@dataclass(frozen=True)
class Blocker:
    """One reason for which provisioning would stop before it changes anything."""

    name: str
    found: str
    why: str
    remedy: str
    override: str = ""


@dataclass(frozen=True)
class Declarations:
    """What all roles declare for one host, by role; ``problems`` are those that can't be told.

    ``driver_is_wanted``: what is on disk is the driver that is declared.
    """

    roles: Mapping[str, Declared] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
    driver_is_wanted: bool = True
    create_users: bool = False
    problems: tuple[str, ...] = ()


def declare(host: str, facts: Facts, ask: Declare) -> Declarations:
    """What is declared for ``host``; ``ask`` resolves the roles' variables."""
    try:
        known = os_facts(facts)
        state = facts.preflight["state"]
    except SectionMissingError as missing:
        return Declarations(problems=(str(missing),))
    asked, unresolved = ask(host, [PREFLIGHT], known)
    if unresolved:
        return Declarations(problems=_words(unresolved))
    wanted = asked[PREFLIGHT]
    checks = role_modules.load("host_checks")
    held_to = checks.Wanted(**wanted)
    modules, reasons = checks.reasons(state, held_to)
    is_wanted = checks.on_disk_is_wanted(state, held_to, modules)
    seen = {**state, "modules": modules or ANY_MODULES, "on_disk_is_wanted": is_wanted}
    found, unresolved = (
        ask(host, ROLES, {**known, "nvidia_driver_state": seen}) if known["os_family"] else ({}, {})
    )
    return Declarations(
        {role: Declared.of(document) for role, document in found.items()},
        _blockers(reasons),
        is_wanted,
        wanted["create_users"],
        _words(unresolved),
    )


def _blockers(reasons: Sequence[Any]) -> tuple[Blocker, ...]:
    # An upgrade that is under way is waited for.
    if [reason.name for reason in reasons] == ["packages-locked"]:
        return ()
    return tuple(Blocker(**vars(reason)) for reason in reasons)


def _words(unresolved: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"what {role} declares: {why}" for role, why in unresolved.items())


def os_facts(facts: Facts) -> dict[str, Any]:
    """The facts of Ansible's that the roles read, from evidence."""
    system = facts.system
    distribution, family = DISTRIBUTIONS.get(system["os_id"], (system["os_id"], ""))
    version = system["os_version_id"]
    return {
        "distribution": distribution,
        "distribution_version": version,
        "distribution_major_version": version.partition(".")[0],
        "distribution_release": system["os_codename"],
        "os_family": family,
        "machine": system["arch"],
    }
