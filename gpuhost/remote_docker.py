"""The docker command line of a host, reached as Ansible reaches the host. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from gpuhost.errors import UsageError

VARIABLES = (
    "ansible_connection",
    "ansible_user",
    "ansible_port",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
)
OPTIONS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
KEYS = ("ansible_ssh_private_key_file", "ansible_private_key_file")
# Members of the docker group need no sudo, and often have none.
SCRIPT = 'if [ -w /run/docker.sock ]; then exec docker "$@"; else exec sudo docker "$@"; fi'


def command(
    address: str, variables: Mapping[str, Any], arguments: Sequence[str], *, terminal: bool
) -> list[str]:
    """The program, with its arguments, that runs ``docker ARGUMENTS`` on a host.

    ``variables`` are the host's own, with templates resolved. With ``terminal`` the
    host's docker gets one too, as ``docker exec -it`` needs it.

    Raises:
        UsageError: the host is reached neither by ssh nor locally.
    """
    docker = ["sh", "-c", SCRIPT, "docker", *arguments]
    connection = str(variables.get("ansible_connection", "ssh"))
    if connection == "local":
        return docker
    if connection not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        raise UsageError(
            f"{address} is reached by {connection!r}, and this works by ssh or locally.",
            "Log in to the host and run docker there.",
        )
    return [
        "ssh",
        *_options(variables),
        "-t" if terminal else "-T",
        address,
        # One word: ssh would join several with spaces, unquoted.
        shlex.join(docker),
    ]


def _options(variables: Mapping[str, Any]) -> list[str]:
    words = [word for name in OPTIONS for word in shlex.split(str(variables.get(name, "")))]
    if "ansible_port" in variables:
        words += ["-p", str(variables["ansible_port"])]
    if "ansible_user" in variables:
        words += ["-l", str(variables["ansible_user"])]
    for key in KEYS:
        if key in variables:
            return [*words, "-i", str(variables[key])]
    return words
