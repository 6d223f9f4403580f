"""The releases that lab hosts can be of: Debian's own, and others by what they say of themselves.

A host of another vendor has Debian's programs. It tells that it is that
vendor's in the files that tools ask, and its repositories have that vendor's
layout, package names and versions, so that the roles take the paths which
they take there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import UsageError
from gpuhost.mirror import layout
from gpuhost.mirror.layout import System
from gpuhost.suggest import did_you_mean

_OS_RELEASE = "usr/lib/os-release"
_LAST_WITH_MODULES = 9
# As Red Hat's family has it.
_DNF_CONF = """\
[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
"""


@dataclass(frozen=True)
class Release:
    """A release: its name, the vendors' repositories for it, whose programs it has.

    ``suite`` is the Debian suite that its programs are of; ``identity`` are the
    files that say what it is, where those are not Debian's own.
    """

    name: str
    system: System
    suite: str
    identity: Mapping[str, str]

    @property
    def number(self) -> str:
        """Its number, as its vendor writes it."""
        return self.system.number

    @property
    def is_debian(self) -> bool:
        """Whether it is what its programs are."""
        return not self.identity

    @property
    def has_modules(self) -> bool:
        """Whether the driver's branches are modules of dnf."""
        return self.system.kind == "rpm" and int(self.number) <= _LAST_WITH_MODULES

    @property
    def archive(self) -> Path:
        """Where the mirror has what hosts may need of the distribution itself."""
        return Path(self.system.vendor) / self.system.codename


def _debian(number: str, codename: str) -> Release:
    name = f"debian{number}"
    return Release(name, layout.find(name), codename, {})


def _ubuntu(number: str, codename: str, suite: str) -> Release:
    name = f"ubuntu{number.replace('.', '')}"
    os_release = (
        f'PRETTY_NAME="Ubuntu {number} LTS"\nNAME="Ubuntu"\nVERSION_ID="{number}"\n'
        f'VERSION="{number} LTS"\nVERSION_CODENAME={codename}\nID=ubuntu\nID_LIKE=debian\n'
        f"UBUNTU_CODENAME={codename}\n"
    )
    lsb_release = (
        f"DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE={number}\nDISTRIB_CODENAME={codename}\n"
        f'DISTRIB_DESCRIPTION="Ubuntu {number} LTS"\n'
    )
    identity = {_OS_RELEASE: os_release, "etc/lsb-release": lsb_release}
    return Release(name, layout.find(name), suite, identity)


def _rocky(number: str, name: str) -> Release:
    words = f"Rocky Linux release {number}.6 ({name})\n"
    os_release = (
        f'NAME="Rocky Linux"\nVERSION="{number}.6 ({name})"\nID="rocky"\n'
        f'ID_LIKE="rhel centos fedora"\nVERSION_ID="{number}.6"\n'
        f'PLATFORM_ID="platform:el{number}"\nPRETTY_NAME="Rocky Linux {number}.6 ({name})"\n'
    )
    identity = {
        _OS_RELEASE: os_release,
        "etc/redhat-release": words,
        "etc/rocky-release": words,
        "etc/dnf/dnf.conf": _DNF_CONF,
        "etc/dnf/plugins/local.conf": "[main]\nenabled = 0\n",
        "etc/dnf/vars/releasever": f"{number}\n",
        # Debian's rpm keeps its books in the home of whoever calls it.
        "etc/rpm/macros": "%_dbpath /var/lib/rpm\n",
    }
    # Its dnf has the very version of that of Red Hat's release 9.
    return Release(f"rocky{number}", layout.find(f"rhel{number}"), "bookworm", identity)


_ALL = (
    _debian("12", "bookworm"),
    _debian("13", "trixie"),
    _ubuntu("22.04", "jammy", "bookworm"),
    _ubuntu("24.04", "noble", "trixie"),
    _ubuntu("26.04", "resolute", "trixie"),
    _rocky("9", "Blue Onyx"),
    _rocky("10", "Red Quartz"),
)
RELEASES: Mapping[str, Release] = {release.name: release for release in _ALL}


def find(name: str) -> Release:
    """The release of this name; UsageError for one that the lab has not."""
    if name not in RELEASES:
        raise UsageError(
            f"The lab has no hosts of {name!r}.{did_you_mean(name, RELEASES)}",
            f"Choose one of: {', '.join(RELEASES)}.",
        )
    return RELEASES[name]
