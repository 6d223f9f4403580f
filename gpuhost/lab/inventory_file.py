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
    """Write the inventory of these hosts into a folder, with their SSH keys beside it."""
    known_hosts = folder / KNOWN_HOSTS_FILE
    known_hosts.write_text(keys.known_hosts(records))
    text = yaml.safe_dump(content(records, operator_key, known_hosts), sort_keys=False)
    (folder / HOSTS_FILE).write_text(_HEADER + text)


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
        },
    }
