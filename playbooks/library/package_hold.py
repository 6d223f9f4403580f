"""Ansible module: hold packages at their installed versions, all in one task."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from ansible.module_utils import run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: package_hold
short_description: Hold packages at their installed versions, all in one task
description:
  - With dpkg, sets the selection of every matching installed package that has it otherwise, where
    M(ansible.builtin.dpkg_selections) would take one task for each.
  - With rpm, adds to or deletes from the version lock of dnf; a package that is held has one entry.
options:
  names:
    description: Names or shell patterns of packages.
    type: list
    elements: str
    required: true
  excluding:
    description: Names or shell patterns of packages to leave alone.
    type: list
    elements: str
    default: []
  state:
    description: Whether the packages are held.
    type: str
    choices: [held, released]
    default: held
author: gpuhost
"""

EXAMPLES = r"""
- name: Hold the driver
  package_hold:
    names: ["nvidia-*", "libnvidia-*"]
    excluding: ["*container*"]
"""

RETURN = r"""
packages:
  description: Packages whose hold was changed.
  returned: always
  type: list
  elements: str
"""


Names = Sequence[str]


def matching(packages: Iterable[str], names: Names, excluding: Names) -> list[str]:
    """Those of ``packages`` that match a name and no exclusion."""
    return [
        package
        for package in packages
        if _matches_any(package, names) and not _matches_any(package, excluding)
    ]


def _matches_any(package: str, patterns: Names) -> bool:
    # dpkg adds the architecture to some names: libcuda1:amd64.
    name = package.partition(":")[0]
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Dpkg:
    """Holds as dpkg's selections. ``installed`` are the packages there are."""

    def __init__(self, module: AnsibleModule) -> None:
        self._run = module.run_command
        fields = "${db:Status-Want} ${db:Status-Status} ${binary:Package}\n"
        _, listed, _ = self._run(["dpkg-query", "-W", "-f", fields], check_rc=True)
        rows = [line.split() for line in listed.splitlines()]
        self._held = {name: want == "hold" for want, status, name in rows if status == "installed"}
        self.installed = list(self._held)

    def is_held(self, package: str) -> bool:
        """Whether ``package`` is held."""
        return self._held[package]

    def hold(self, packages: Names) -> None:
        """Hold ``packages``."""
        self._select(packages, "hold")

    def release(self, packages: Names) -> None:
        """Let go of ``packages``."""
        self._select(packages, "install")

    def _select(self, packages: Names, selection: str) -> None:
        lines = "".join(f"{package} {selection}\n" for package in packages)
        self._run(["dpkg", "--set-selections"], data=lines, binary_data=True, check_rc=True)


class Dnf:
    """Holds as entries of dnf's version lock; ``installed`` as for :class:`Dpkg`."""

    def __init__(self, module: AnsibleModule) -> None:
        self._run = module.run_command
        _, listed, _ = self._run(["rpm", "-qa", "--qf", "%{NAME} %{VERSION}\n"], check_rc=True)
        self._versions = dict(line.split() for line in listed.splitlines())
        self.installed = list(self._versions)
        _, locks, _ = self._run(["dnf", "-q", "versionlock", "list"], check_rc=True)
        self._locks = locks.splitlines()

    def is_held(self, package: str) -> bool:
        """Whether an entry locks ``package`` at its installed version."""
        return self._has_entry(package, re.escape(self._versions[package]))

    def _has_entry(self, package: str, version: str) -> bool:
        entry = re.compile(rf"^{re.escape(package)}-(\d+:)?{version}(-[^-]+)?$")
        return any(entry.match(lock) for lock in self._locks)

    def hold(self, packages: Names) -> None:
        """Lock ``packages`` at their installed versions, and at no other any more."""
        stale = [package for package in packages if self._has_entry(package, "[^-]+")]
        if stale:
            self.release(stale)
        locks = [f"{package}-{self._versions[package]}" for package in packages]
        self._run(["dnf", "-q", "versionlock", "add", *locks], check_rc=True)

    def release(self, packages: Names) -> None:
        """Delete the locks of ``packages``."""
        self._run(["dnf", "-q", "versionlock", "delete", *packages], check_rc=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "excluding": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    manager = Dpkg(module) if shutil.which("dpkg-query") else Dnf(module)
    wanted = module.params["state"] == "held"
    candidates = matching(manager.installed, module.params["names"], module.params["excluding"])
    packages = [package for package in candidates if manager.is_held(package) != wanted]
    if packages and not module.check_mode:
        if wanted:
            manager.hold(packages)
        else:
            manager.release(packages)
    module.exit_json(changed=bool(packages), packages=packages)


if __name__ == "__main__":
    main()
