"""Passwords of registry logins that were typed in: on their way to Ansible, and nowhere else.

They lie in this process's memory. Ansible reads them there, through /proc, by
the file lookup of the role registry_login: no file on disk, no environment
variable and no command line ever has them, and they are gone when this
process is, however it ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from gpuhost.inventory import Host
from gpuhost.model import Login

VARIABLE = "registry_login_registries"
# Declared in the role's vars: it is no business of an inventory's.
ASKED = "__registry_login_asked"


def undeclared(hosts: Iterable[Host]) -> dict[Login, list[str]]:
    """Logins whose password the inventory does not have, each with the hosts that it is for."""
    found: dict[Login, list[str]] = {}
    for host in hosts:
        for one in host.variables.get(VARIABLE) or ():
            if not one.get("password"):
                login = Login(one["registry"], one["username"])
                found.setdefault(login, []).append(host.name)
    return found


@contextmanager
def readable(passwords: Mapping[Login, str]) -> Iterator[dict[str, object]]:
    """Let Ansible read the passwords for as long as the block runs; the variables to give it."""
    if not passwords:
        yield {}
        return
    document = {f"{one.username}@{one.registry}": word for one, word in passwords.items()}
    descriptor = os.memfd_create("gpuhost-passwords")
    try:
        os.write(descriptor, json.dumps(document).encode())
        yield {ASKED: f"/proc/{os.getpid()}/fd/{descriptor}"}
    finally:
        os.close(descriptor)
