"""A host that is exactly what the roles declare, and what applying a plan to it would leave.

The declarations are the roles' own, resolved by Ansible for the healthy host
of :mod:`support.evidence`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from support.evidence import DRIVER, healthy_desired, healthy_evidence

from gpuhost import inventory
from gpuhost.checks.facts import Facts
from gpuhost.declared import Declarations, declare
from gpuhost.model import Desired
from gpuhost.plan import Change, HostPlan, plan
from gpuhost.probe.schema import Evidence

HOST = "gpu-01"
FOREIGN_FILE = {"path": "/etc/modprobe.d/site.conf", "mode": "0644", "sha256": "5f1d"}
STATE: dict[str, Any] = {
    "gpus": [{"address": "0000:07:00.0", "device": 0x20B0}],
    "kernel": "6.1.0-40-amd64",
    "machine": "x86_64",
    "loaded_version": DRIVER,
    "loaded_modules": "open",
    "on_disk_version": DRIVER,
    "on_disk_modules": "open",
    "nouveau_loaded": False,
    "secure_boot": False,
    "signing_key_enrolled": None,
    "gpu_users": [],
    "headers_present": True,
    "headers_installable": True,
    "headers_meta_packages": ["linux-headers-amd64"],
    "initramfs_tool": "update-initramfs",
    "packages_interrupted": False,
    "os": {"id": "debian", "version_id": "12", "pretty_name": "Debian GNU/Linux 12"},
    "free_mib": {"/boot": 9000, "/usr": 9000, "/var": 9000},
    "read_only": [],
    "daemon_json_error": None,
    "gpg_missing": False,
    "package_lock": None,
    "packages_broken": [],
    "removed_with_conflicts": [],
    "replaced_packages": [],
    "distribution_driver": [],
    "runfile_driver": None,
    "docker_snap": None,
    "unusable_sources": [],
    "replaced_sources": [],
    "known_users": ["alice"],
}


@cache
def _inventory(variables: str) -> inventory.Inventory:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hosts.yml")
        path.write_text(yaml.safe_dump({"all": {"hosts": {HOST: json.loads(variables)}}}))
        return inventory.load(path)


def declarations(
    evidence: Evidence, desired: Desired, variables: Mapping[str, Any] | None = None
) -> Declarations:
    """What the roles declare for this host; ``variables`` come on top of ``desired``."""
    values = {
        inventory.VARIABLE_OF[each.name]: getattr(desired, each.name)
        for each in fields(Desired)
        if each.name not in ("registry_logins", "free_mib") and getattr(desired, each.name)
    }
    source = _inventory(json.dumps({**values, **(variables or {})}, sort_keys=True))

    def ask(host: str, roles: Sequence[str], facts: Mapping[str, Any]) -> Any:
        return _answer(source, host, tuple(roles), json.dumps(facts, sort_keys=True))

    return declare(HOST, Facts(evidence, desired), ask)


@cache
def _answer(source: inventory.Inventory, host: str, roles: tuple[str, ...], facts: str) -> Any:
    return source.declare(host, roles, json.loads(facts))


def planned(
    evidence: Evidence, desired: Desired | None = None, variables: Mapping[str, Any] | None = None
) -> HostPlan:
    """The plan of this host."""
    wanted = desired or healthy_desired()
    return plan(HOST, evidence, wanted, declarations(evidence, wanted, variables))


def conforming_evidence() -> Evidence:
    """Evidence of a host that is all that the roles declare for it."""
    return copy.deepcopy(_conforming())


@cache
def _conforming() -> Evidence:
    evidence, desired = healthy_evidence(), healthy_desired()
    data(evidence, "preflight").update(state=copy.deepcopy(STATE), keys=[])
    data(evidence, "provisioning")["files"] = [FOREIGN_FILE | {"changed_at": 0.0}]
    found = plan(HOST, evidence, desired, declarations(evidence, desired))
    applied(found, evidence, declarations(evidence, desired))
    return evidence


def data(evidence: Evidence, section: str) -> dict[str, Any]:
    """The data of one section, to be changed."""
    return cast("dict[str, Any]", evidence["sections"][section]["data"])


# ------------------------------------------------------------- what applying a plan would leave


def applied(host_plan: HostPlan, evidence: Evidence, declared: Declarations) -> None:
    """Do to the evidence what the plan says, and nothing else."""
    model = Applying(evidence, declared)
    for change in host_plan.changes:
        model.do(change)
    if host_plan.reboot:
        state = data(evidence, "preflight")["state"]
        state.update(nouveau_loaded=False, loaded_version=state["on_disk_version"])
        state["loaded_modules"] = state["on_disk_modules"]


class Applying:
    """The evidence of a host whose plan is carried out."""

    def __init__(self, evidence: Evidence, declared: Declarations) -> None:
        self.evidence = evidence
        self.roles = declared.roles
        self.state = data(evidence, "preflight")["state"]

    def do(self, change: Change) -> None:
        method = getattr(self, "do_" + change.action.replace(" ", "_"))
        method(change)

    def do_add(self, change: Change) -> None:
        if change.component == "users":
            name = change.subject.removesuffix(" to the docker group")
            users = data(self.evidence, "users")
            users["docker_group"] = users["docker_group"] or {"gid": 998, "members": []}
            users["docker_group"]["members"].append(name)
            return
        self.do_replace(change)

    def do_replace(self, change: Change) -> None:
        section = data(self.evidence, "preflight")
        (key,) = [r.key for r in self.roles.values() if r.key and r.key.path == change.subject]
        section["keys"] = [k for k in section["keys"] if k["path"] != change.subject]
        section["keys"].append({"path": key.path, "fingerprints": [key.fingerprint], "problem": ""})

    def do_create(self, change: Change) -> None:
        user = {"name": change.subject, "exists": True, "uid": 1002, "groups": []}
        data(self.evidence, "users")["users"].append(user)

    def do_write(self, change: Change) -> None:
        self._remove("files", "path", change.subject)
        (text,) = {
            r.files[change.subject] for r in self.roles.values() if change.subject in r.files
        }
        file = {
            "path": change.subject,
            "mode": "0644",
            "changed_at": 0.0,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        data(self.evidence, "provisioning")["files"].append(file)
        self.state["replaced_sources"] = []

    do_rewrite = do_write

    def do_remove(self, change: Change) -> None:
        self._remove("files", "path", change.subject)
        self._remove("packages", "name", change.subject)
        self.state["distribution_driver"] = [
            name for name in self.state["distribution_driver"] if name != change.subject
        ]

    def _remove(self, part: str, key: str, value: str) -> None:
        section = data(self.evidence, "provisioning")
        section[part] = [one for one in section[part] if one[key] != value]

    def do_install(self, change: Change) -> None:
        (wanted,) = {
            r.packages[change.subject] for r in self.roles.values() if change.subject in r.packages
        }
        self._remove("packages", "name", change.subject)
        version = wanted.replace("*", "1") or "1.0"
        package = {"name": change.subject, "version": version, "held": False}
        data(self.evidence, "provisioning")["packages"].append(package)
        if change.component == "driver" and version[0].isdigit() and wanted:
            self.state["on_disk_version"] = version.partition("-")[0]

    # dpkg lets go of a held package that it is told to change.
    do_change = do_install

    def _hold(self, name: str, held: bool) -> None:
        for package in data(self.evidence, "provisioning")["packages"]:
            if package["name"] == name:
                package["held"] = held

    def do_hold(self, change: Change) -> None:
        self._hold(change.subject, True)

    def do_release(self, change: Change) -> None:
        self._hold(change.subject, False)

    def do_set(self, change: Change) -> None:
        file = data(self.evidence, "docker")["daemon_json"]
        config = json.loads(file["text"] or "{}")
        place, _, _ = change.subject.partition(" in ")
        *above, last = place.split(".")
        at = config
        for name in above:
            at = at.setdefault(name, {})
        at[last] = json.loads(change.after)
        file["text"] = json.dumps(config)

    def do_finish(self, _: Change) -> None:
        self.state["packages_interrupted"] = False

    def do_uninstall(self, _: Change) -> None:
        self.state["runfile_driver"] = None

    def do_rebuild(self, _: Change) -> None:
        pass

    def do_load(self, _: Change) -> None:
        self.state["loaded_version"] = self.state["on_disk_version"]
        self.state["loaded_modules"] = self.state["on_disk_modules"]

    do_reload = do_load

    def _unit(self, name: str, **values: str) -> None:
        for section in ("driver", "docker", "toolkit"):
            for unit in data(self.evidence, section)["units"]:
                if unit["name"] == name:
                    unit.update(values)

    def do_enable(self, change: Change) -> None:
        self._unit(change.subject, enabled_state="enabled")

    def do_start(self, change: Change) -> None:
        self._unit(change.subject, active_state="active")

    def do_restart(self, _: Change) -> None:
        section = data(self.evidence, "provisioning")
        newest = max((file["changed_at"] for file in section["files"]), default=0.0)
        section["dockerd_started_at"] = newest + 1

    def do_renew(self, _: Change) -> None:
        specs = data(self.evidence, "toolkit")["cdi_specs"]
        fresh = data(healthy_evidence(), "toolkit")["cdi_specs"][0]
        fresh["text"] = fresh["text"].replace(DRIVER, self.state["on_disk_version"])
        specs[:] = [*(spec for spec in specs if spec["path"] != fresh["path"]), fresh]

    do_generate = do_renew
