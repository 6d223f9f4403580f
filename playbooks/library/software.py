"""Ansible module: keys, files and packages that roles declare, in one transaction of apt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils import apt, declared_files, holds, offers, repository_key, run_lock
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: software
short_description: Bring about what roles declare of software, in one transaction of apt
description:
  - Takes the C(__ROLE_declared) of one or more roles. Installs the keys of their repositories,
    writes and removes their files, has apt read its lists where it has to, installs their packages
    all at once and holds those that are to be held.
  - Of a role with packages that are in the way only keys and files are brought about.
  - Fails without having installed anything where apt cannot resolve what is asked for, and tells
    what no repository has, with the versions that there are. Packages that are to be held are held
    then, too.
options:
  declared:
    description: What each role declares, by role.
    type: dict
    required: true
  lock_timeout:
    description: Seconds to wait for another program that works with packages.
    type: int
    default: 300
author: gpuhost
"""

EXAMPLES = r"""
- name: Install Docker Engine
  software:
    declared:
      docker_ce: "{{ __docker_ce_declared }}"
"""

RETURN = r"""
roles:
  description: For each role what it C(declared), its C(changed_paths), C(packages) that were
    installed or got another version, packages that were C(released) and C(held), and
    C(conflicting) packages that are in the way.
  returned: success
  type: dict
"""

Declared = Mapping[str, Any]


class Work:
    """One run of the module: what ``declared`` asks for, and what of it had to be done."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._patience_s = module.params["lock_timeout"]
        self._declared: Mapping[str, Declared] = module.params["declared"]
        self.roles = {role: found(each) for role, each in self._declared.items()}
        self.diff: list[dict[str, str]] = []

    def bring_about(self) -> None:
        """Everything, in the order in which one builds on the other."""
        self._keys()
        has_to_read = self._files()
        present = apt.installed(self._module)
        for role, each in self._declared.items():
            self.roles[role]["conflicting"] = [
                name for name in each.get("conflicting", ()) if name in present
            ]
        clear = {r: d for r, d in self._declared.items() if not self.roles[r]["conflicting"]}
        coming = [apt.to_install({**first(d), **d["packages"]}, present) for d in clear.values()]
        if self._module.check_mode:
            # What a repository that is not configured yet would bring, nobody can tell.
            if not any(each["changed_paths"] for each in self.roles.values()):
                self._note_packages(clear, present, {})
            return
        self._release(clear)
        try:
            if has_to_read or (any(coming) and apt.is_old()):
                apt.update(self._module, self._patience_s)
            self._install(clear, present)
        finally:
            self._hold(clear)
        self._note_packages(clear, present, apt.installed(self._module))

    def _keys(self) -> None:
        for role, each in self._declared.items():
            key = each["key"]
            if repository_key.bring_about(
                self._module, key["url"], key["path"], key["fingerprint"]
            ):
                self.roles[role]["changed_paths"].append(key["path"])

    def _files(self) -> bool:
        """Write and remove files; whether apt has to read its lists on account of them."""
        has_to_read = False
        for role, each in self._declared.items():
            done = declared_files.bring_about(self._module, each["files"], each["absent"])
            self.roles[role]["changed_paths"] += done["changed_paths"]
            self.diff += done["diff"]
            has_to_read = has_to_read or done["apt_has_to_read"]
        return has_to_read

    def _install(self, clear: Mapping[str, Declared], present: Mapping[str, str]) -> None:
        # What is declared to come first changes what apt chooses after it.
        for part in (first, lambda each: each["packages"]):
            asked = {name: p for each in clear.values() for name, p in part(each).items()}
            coming = apt.to_install(asked, present)
            try:
                if coming:
                    apt.install(self._module, coming, self._patience_s)
            except apt.InstallationError as error:
                said = "" if error.half_installed else self._not_offered(clear, coming)
                self._module.fail_json(
                    msg=said or str(error),
                    packages=coming,
                    half_installed=error.half_installed,
                )

    def _not_offered(self, clear: Mapping[str, Declared], coming: Mapping[str, str]) -> str:
        """What no repository has of what was asked for; empty where that is not the reason."""
        offered = offers.versions(self._module, coming)
        lacking = offers.missing(coming, offered)
        said = []
        for each in clear.values():
            own = {n: p for n, p in lacking.items() if n in each["packages"] or n in first(each)}
            said += offers.words(own, offered, each.get("chosen_by", ()))
        return "\n".join([offers.NOTHING_DONE, *said]) if said else ""

    def _release(self, clear: Mapping[str, Declared]) -> None:
        changing = {role: each for role, each in clear.items() if each.get("is_changing")}
        if not changing:
            return
        manager = holds.Dpkg(self._module)
        for role, each in changing.items():
            names = [name for name in held_by(each, manager) if manager.is_held(name)]
            if names:
                manager.release(names)
            self.roles[role]["released"] = names

    def _hold(self, clear: Mapping[str, Declared]) -> None:
        manager = holds.Dpkg(self._module)
        for role, each in clear.items():
            names = [name for name in held_by(each, manager) if not manager.is_held(name)]
            if names:
                manager.hold(names)
            self.roles[role]["held"] = names

    def _note_packages(
        self, clear: Mapping[str, Declared], before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Note which were not as declared: their versions then and now."""
        for role, each in clear.items():
            asked = {**first(each), **each["packages"]}
            self.roles[role]["packages"] = {
                name: [before.get(name, ""), after.get(name, "")]
                for name in apt.to_install(asked, before)
            }


def found(declared: Declared) -> dict[str, Any]:
    """What is told of a role of which nothing had to be done."""
    nothing: dict[str, Any] = {"changed_paths": [], "packages": {}, "released": [], "held": []}
    return {"declared": declared, "conflicting": [], **nothing}


def first(declared: Declared) -> dict[str, str]:
    """The packages of a role that come before its others."""
    return dict.fromkeys(declared.get("first", ()), "")


def held_by(declared: Declared, manager: holds.Dpkg) -> list[str]:
    """The installed packages that a role holds."""
    excluding = declared.get("not_held", ())
    return holds.matching(manager.installed, declared["held"], excluding)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "declared": {"type": "dict", "required": True},
            "lock_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    run_lock.require(module)
    work = Work(module)
    work.bring_about()
    parts = ("changed_paths", "packages", "released", "held")
    changed = any(each[part] for each in work.roles.values() for part in parts)
    module.exit_json(changed=changed, roles=work.roles, diff=work.diff)


if __name__ == "__main__":
    main()
