"""Asking for the passwords of registry logins that the inventory does not have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gpuhost.errors import UsageError

if TYPE_CHECKING:
    from gpuhost.model import Login
    from gpuhost.provision import Planned
    from gpuhost.targets import Targets


def ask_passwords(targets: Targets, planned: Planned, everyone: bool) -> dict[Login, str]:
    """Passwords typed at the terminal, for logins that some host lacks (or for ``everyone``).

    Raises:
        UsageError: there is no terminal to ask at.
    """
    from gpuhost.rollout import shortened
    from gpuhost.secrets import undeclared

    asked: dict[Login, str] = {}
    for login, hosts in undeclared(targets.hosts).items():
        lacking = [h for h in hosts if everyone or login in planned.plans[h].missing_logins]
        if not lacking:
            continue
        who = f"{login.username} at {login.registry}"
        where = shortened(lacking)
        if not sys.stdin.isatty():
            raise UsageError(
                f"The password of {who} is not declared for {where}, and there is no terminal "
                "to ask at.",
                "Declare it in registry_login_registries, from a vault or from the environment.",
            )
        asked[login] = click.prompt(f"Password of {who}, for {where}", hide_input=True, err=True)
    return asked
