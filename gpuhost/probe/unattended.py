"""Which packages a host upgrades by itself: unattended-upgrades, and dnf-automatic.

unattended-upgrades takes upgrades from the origins that it is told and from no
other; dnf-automatic from everywhere, or those that are marked as security only.
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Collection, Dict, List, Mapping, Sequence

from gpuhost.probe import packages, units
from gpuhost.probe.context import Context
from gpuhost.probe.run import which
from gpuhost.probe.schema import Package
from gpuhost.probe.system import os_release

# What a GPU container host stands on; other packages may be upgraded at any time.
WATCHED = re.compile(
    r"nvidia|cuda-drivers|libcuda1|docker-ce|containerd\.io|libnvidia-container|kmod-nvidia"
)
WATCHED_PATTERNS = (
    *("*nvidia*", "cuda-drivers*", "libcuda1*", "docker-ce*", "containerd.io*"),
    "libnvidia-container*",
)
# A pin above this keeps the installed version whatever else there is.
PINNED_OVER = 990

_BLACKLIST = re.compile(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";$', re.M)
_ORIGINS = re.compile(r'^Unattended-Upgrade::(Allowed-Origins|Origins-Pattern):: "(.*)";$', re.M)
_NAME = re.compile(r"\$\{(\w+)\}")
_PERIODIC = re.compile(r'^APT::Periodic::Unattended-Upgrade "[1-9]\d*";$', re.M)
_SOURCE = re.compile(r"^ +-?\d+ (?P<source>\S.*)$")
_VERSION = re.compile(r"^ (?P<mark>\*\*\*|   ) (?P<version>\S+) (?P<priority>-?\d+)(?: .*)?$")
# By what apt-cache policy, unattended-upgrades' own file and a Release file call it.
_FIELDS = {
    **dict.fromkeys(("o", "origin"), "o"),
    **dict.fromkeys(("l", "label"), "l"),
    **dict.fromkeys(("a", "suite", "archive"), "a"),
    **dict.fromkeys(("c", "component"), "c"),
    **dict.fromkeys(("n", "codename"), "n"),
    "site": "site",
}

DNF_CONFIGURATION = "/etc/dnf/automatic.conf"
DNF_MAIN = "/etc/dnf/dnf.conf"
DNF_TIMERS = ("dnf-automatic.timer", "dnf5-automatic.timer")
DNF_INSTALLS = "dnf-automatic-install.timer"


@dataclass(frozen=True)
class Source:
    """A version of a package that apt knows, and the lists that it is in."""

    priority: int
    lists: List[str]


# ------------------------------------------------------------------ Debian's family


def apt_exposed(context: Context, configuration: str, pending: Sequence[str]) -> List[str]:
    """The watched packages that unattended-upgrades may replace, this night or another."""
    patterns = allowed_origins(configuration, _distribution(context))
    spared = blacklist(configuration)
    names = [
        package["name"]
        for package in _watched(context)
        if not package["held"] and not any(re.match(s, package["name"]) for s in spared)
    ]
    if not patterns or not names:
        return []
    releases = releases_of(context.run(["apt-cache", "policy"])["stdout"])
    allowed = {text for text, r in releases.items() if any(matches(p, r) for p in patterns)}
    versions = versions_of(context.run(["apt-cache", "policy", *names])["stdout"])
    return [name for name in names if _is_exposed(versions.get(name, ()), allowed, name in pending)]


def _is_exposed(versions: Sequence[Source], allowed: Collection[str], waits: bool) -> bool:
    comes = any(source in allowed for version in versions for source in version.lists)
    return comes and (waits or versions[-1].priority <= PINNED_OVER)


def is_unattended(configuration: str) -> bool:
    """Whether unattended-upgrades is there and has its turn."""
    return which("unattended-upgrade") is not None and bool(_PERIODIC.search(configuration))


def blacklist(configuration: str) -> List[str]:
    """The patterns of packages that unattended upgrades leave alone."""
    found = []
    for pattern in _BLACKLIST.findall(configuration):
        try:
            re.compile(pattern)
        except re.error:
            continue
        found.append(pattern)
    return found


def allowed_origins(configuration: str, names: Mapping[str, str]) -> List[Dict[str, str]]:
    """The origins that upgrades are taken from: a pattern for each field that is given.

    ``names`` are what is put for ``${distro_id}`` and the like. A pattern
    that is not understood takes nothing, as unattended-upgrades stops at one.
    """
    found = []
    for kind, written in _ORIGINS.findall(configuration):
        text = _NAME.sub(lambda name: names.get(name[1], name[0]), written)
        pattern = _legacy(text) if kind == "Allowed-Origins" else _pattern(text)
        if pattern:
            found.append(pattern)
    return found


def _legacy(text: str) -> Dict[str, str]:
    """``Debian:stable`` or ``Debian stable``."""
    words = text.split(":") if ":" in text else text.split()
    return {"o": words[0], "a": words[1]} if len(words) == 2 else {}  # noqa: PLR2004


def _pattern(text: str) -> Dict[str, str]:
    """``origin=Debian,codename=bookworm,label=Debian-Security``; a comma in a value is quoted."""
    pattern = {}
    for token in re.split(r"(?<!\\),", text):
        what, equals, value = token.partition("=")
        if not equals or what.strip() not in _FIELDS:
            return {}
        pattern[_FIELDS[what.strip()]] = value.strip().replace("\\,", ",")
    return pattern


def matches(pattern: Mapping[str, str], release: Mapping[str, str]) -> bool:
    """Whether a list of packages is from an origin."""
    return all(fnmatchcase(release.get(field, ""), value) for field, value in pattern.items())


def releases_of(policy: str) -> Dict[str, Dict[str, str]]:
    """What ``apt-cache policy`` tells of each list of packages, by the line that names it."""
    found: Dict[str, Dict[str, str]] = {}
    here: Dict[str, str] = {}
    for line in policy.splitlines():
        words = line.strip()
        if words.startswith("release "):
            fields = re.split(r",(?=[voanlcb]=)", words[len("release ") :])
            here.update(field.partition("=")[::2] for field in fields)
        elif words.startswith("origin "):
            here["site"] = words[len("origin ") :]
        elif source := _SOURCE.match(line):
            here = found.setdefault(source["source"], {})
    return found


def versions_of(policy: str) -> Dict[str, List[Source]]:
    """Each package's versions from the highest to the installed one, by ``apt-cache policy``."""
    found: Dict[str, List[Source]] = {}
    versions: List[Source] = []
    is_installed = is_older = False
    for line in policy.splitlines():
        version, source = _VERSION.match(line), _SOURCE.match(line)
        if line and not line.startswith(" "):
            versions = found.setdefault(line.rstrip(":"), [])
            is_installed = is_older = False
        elif version:
            is_older = is_installed
            is_installed = is_installed or version["mark"] == "***"
            if not is_older:
                versions.append(Source(int(version["priority"]), []))
        elif source and versions and not is_older:
            versions[-1].lists.append(source["source"])
    return found


def _distribution(context: Context) -> Dict[str, str]:
    release = os_release(context.root.read("/etc/os-release") or "")
    return {
        "distro_id": release.get("ID", "").capitalize(),
        "distro_codename": release.get("UBUNTU_CODENAME") or release.get("VERSION_CODENAME", ""),
    }


# ------------------------------------------------------------------- Red Hat's family


@dataclass(frozen=True)
class DnfAutomatic:
    """What dnf-automatic is set to: whether it installs anything, and of what."""

    installs: bool
    security_only: bool
    excludes: Sequence[str]


def dnf_automatic(context: Context) -> DnfAutomatic:
    """As its timers and its file have it."""
    active = [
        unit["name"]
        for unit in units.show(context, (*DNF_TIMERS, DNF_INSTALLS))
        if unit["active_state"] == "active"
    ]
    text = context.root.read(DNF_CONFIGURATION) or ""
    commands, base = _section(text, "commands"), _section(text, "base")
    applies = commands.get("apply_updates", "no").lower() in ("yes", "true", "on", "1")
    main = _section(context.root.read(DNF_MAIN) or "", "main")
    return DnfAutomatic(
        installs=DNF_INSTALLS in active or (applies and bool(active)),
        security_only=commands.get("upgrade_type", "default") == "security",
        excludes=[*_excludes(main), *_excludes(base)],
    )


def dnf_exposed(context: Context, automatic: DnfAutomatic, pending: Sequence[str]) -> List[str]:
    """The watched packages that dnf-automatic may replace, this night or another.

    Where it takes security updates only: those that wait, because the vendors'
    repositories mark few.
    """
    found = [p["name"] for p in _watched(context) if not p["held"]]
    return [
        name
        for name in found
        if not any(fnmatchcase(name, each) for each in automatic.excludes)
        and (name in pending or not automatic.security_only)
    ]


def _section(text: str, name: str) -> Dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}


def _excludes(section: Mapping[str, str]) -> List[str]:
    words = f"{section.get('exclude', '')} {section.get('excludepkgs', '')}"
    return words.replace(",", " ").split()


def _watched(context: Context) -> List[Package]:
    try:
        found = packages.installed(context, WATCHED_PATTERNS)
    except packages.PackageError:
        return []
    return [package for package in found if WATCHED.search(package["name"])]
