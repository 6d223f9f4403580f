"""The Ansible inventory of the lab's hosts: what an operator would write for real ones."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gpuhost.lab import keys
from gpuhost.lab.base import DOCKER_USER, OPERATOR
from gpuhost.lab.gpu import models, packages
from gpuhost.lab.state import HostRecord

FOLDER = Path("inventories") / "lab"
HOSTS_FILE = "hosts.yml"
KNOWN_HOSTS_FILE = "known_hosts"

_HEADER = """\
# Written by `gpuhost lab up` and `gpuhost lab down`; changes made here are lost.
"""


def write(folder: Path, records: Sequence[HostRecord], operator_key: Path) -> None:
    """Write the inventory of these hosts into a folder, with their SSH keys beside it.

    Of hosts that it does not list there are only the groups; what an onboarding
    has made of them stays.
    """
    known_hosts = folder / KNOWN_HOSTS_FILE
    added = _onboarded(folder / HOSTS_FILE, records)
    known_hosts.write_text(keys.known_hosts(r for r in records if r.listed or r.name in added))
    found = content(records, operator_key, known_hosts)
    for record in records:
        if record.name in added:
            hosts = found["lab"]["children"][f"lab_{record.release}"]["hosts"]
            hosts[record.name] = added[record.name]
    text = yaml.safe_dump(found, sort_keys=False)
    (folder / HOSTS_FILE).write_text(_HEADER + text)


def _onboarded(path: Path, records: Sequence[HostRecord]) -> dict[str, Any]:
    """The entries of hosts that are not listed and that somebody has added to the file."""
    if not path.exists():
        return {}
    releases = yaml.safe_load(path.read_text())["lab"]["children"].values()
    there = {name: entry for release in releases for name, entry in release["hosts"].items()}
    unlisted = [record.name for record in records if not record.listed]
    return {name: there[name] for name in unlisted if name in there}


def remove(folder: Path) -> None:
    """Remove what :func:`write` wrote, and the folder where nothing else is in it."""
    for name in (HOSTS_FILE, KNOWN_HOSTS_FILE):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def content(records: Sequence[HostRecord], operator_key: Path, known_hosts: Path) -> dict[str, Any]:
    """The inventory: the group ``lab``, and in it a group for each release."""
    return {
        "lab": {
            "vars": {
                "ansible_user": OPERATOR,
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_private_key_file": str(operator_key),
                "ansible_ssh_common_args": shlex.join(keys.strict_options(known_hosts)),
                "docker_users_names": [DOCKER_USER],
            },
            "children": {
                f"lab_{release}": _release([r for r in records if r.release == release])
                for release in sorted({record.release for record in records})
            },
        }
    }


def _release(records: Sequence[HostRecord]) -> dict[str, Any]:
    return {
        "vars": dict(records[-1].variables),
        "hosts": {
            record.name: {
                "ansible_host": record.address,
                "gpuhost_gpu_count": record.gpus,
                "gpuhost_gpu_model": models.find(record.model).card,
                "nvidia_driver_branch": packages.branch_for(models.find(record.model)),
            }
            for record in records
            if record.listed
        },
    }
