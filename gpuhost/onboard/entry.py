"""What the inventory is to say of a new host. No I/O."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuhost.onboard.host_key import KNOWN_HOSTS, SSH_PORT, Place
from gpuhost.onboard.look import Found

COUNT = "gpuhost_gpu_count"
MODEL = "gpuhost_gpu_model"
# Ansible puts the folder of the inventory's file there: the file may move together with the keys.
BESIDE_INVENTORY = f"{{{{ inventory_dir }}}}/{KNOWN_HOSTS}"


@dataclass(frozen=True)
class Connection:
    """How Ansible is to reach the host; ``key`` is the file of the key to log in with."""

    place: Place
    user: str
    key: Path | None

    def variables(self, known_hosts: str) -> dict[str, Any]:
        """As Ansible's variables, with the host's key in the file ``known_hosts``."""
        found: dict[str, Any] = {"ansible_host": self.place.address}
        if self.place.port != SSH_PORT:
            found["ansible_port"] = self.place.port
        found["ansible_user"] = self.user
        if self.key is not None:
            found["ansible_ssh_private_key_file"] = _from_home(self.key)
        found["ansible_ssh_common_args"] = self._options(known_hosts)
        return found

    def _options(self, known_hosts: str) -> str:
        # ssh splits the value at blanks unless it has quotes of its own.
        options = [f'UserKnownHostsFile="{known_hosts}"', "StrictHostKeyChecking=yes"]
        if self.key is not None:
            options.append("IdentitiesOnly=yes")
        return " ".join(f"-o {shlex.quote(option)}" for option in options)


def to_look(
    connection: Connection, inherited: Mapping[str, Any], known_hosts: Path
) -> dict[str, Any]:
    """The variables to reach the host with while it is in no inventory."""
    own = connection.variables(str(known_hosts))
    kept = {name: value for name, value in inherited.items() if name.startswith("ansible_")}
    return {**kept, **own, "ansible_ssh_common_args": _options(own, inherited)}


def make(
    connection: Connection, inherited: Mapping[str, Any], known_hosts: Path, found: Found
) -> dict[str, Any]:
    """The host's entry: what the group does not say already."""
    own = connection.variables(BESIDE_INVENTORY)
    if str(known_hosts) in str(inherited.get("ansible_ssh_common_args", "")):
        del own["ansible_ssh_common_args"]
    else:
        own["ansible_ssh_common_args"] = _options(own, inherited)
    entry = {name: value for name, value in own.items() if inherited.get(name) != value}
    if inherited.get(COUNT) is None:
        entry[COUNT] = found.gpus
    if len(found.models) == 1 and not inherited.get(MODEL):
        entry[MODEL] = found.models[0]
    return entry


def contradictions(inherited: Mapping[str, Any], found: Found) -> str:
    """Where the group declares something else than was found, in words."""
    declared = inherited.get(COUNT)
    if declared is None or str(declared) == str(found.gpus):
        return ""
    return (
        f"its group declares {COUNT}: {declared}, and {found.gpus} were found; the declaration "
        "stays, and verification will say so"
    )


def _options(own: Mapping[str, Any], inherited: Mapping[str, Any]) -> str:
    """Ours before the group's: of an option that is given twice, ssh takes the first."""
    words = (own["ansible_ssh_common_args"], inherited.get("ansible_ssh_common_args"))
    return " ".join(str(one) for one in words if one)


def _from_home(path: Path) -> str:
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (a link may be meant)
    home = Path.home()
    return f"~/{absolute.relative_to(home)}" if absolute.is_relative_to(home) else str(absolute)
