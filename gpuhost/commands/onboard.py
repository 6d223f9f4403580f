"""``gpuhost onboard``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import finish, flags
from gpuhost.commands.passwords import ask_passwords
from gpuhost.commands.plan import show_plans
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.model import RunReport
    from gpuhost.onboard.host_key import HostKey, Place
    from gpuhost.onboard.spot import Spot
    from gpuhost.onboard.stages import Order
    from gpuhost.plan import HostPlan
    from gpuhost.settings import Settings
    from gpuhost.ui import Ui

PASSWORD = "GPUHOST_PASSWORD"  # noqa: S105  (the name of a variable)
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("name")
@click.option("--address", required=True, help="Where the host is: an IP address or a name.")
@click.option("--port", type=click.IntRange(1, 65535), default=22, show_default=True)
@click.option("--user", help="Who logs in (default: the ansible_user of the group).")
@click.option("--group", help="The inventory's group for it (default: gpu_hosts, or the only one).")
@click.option(
    "-i",
    "--inventory",
    type=FILE,
    help="The Ansible inventory to add it to (default: the one in the project's inventories/).",
)
@click.option(
    "--fingerprint",
    metavar="SHA256:...",
    help="What the host's key must have; without it, you are shown the key and asked.",
)
@click.option("--key", type=FILE, help="Private key to log in with (default: agent, ~/.ssh/id_*).")
@click.option(
    "--ask-password",
    "by_password",
    is_flag=True,
    help=f"Log in by password this once: asked for, or from the environment ({PASSWORD}).",
)
@click.option(
    "--install-key",
    type=FILE,
    metavar="FILE",
    help="Public key to install for the user, who logs in with it from then on.",
)
@click.option(
    "--passwordless-sudo",
    is_flag=True,
    help="Let the user use sudo without a password, where it asks for one.",
)
@click.option("--restart", is_flag=True, help="Begin with the first stage again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before changing and rebooting it.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the result.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def onboard(name: str, yes: bool, as_json: bool, **options: Any) -> ExitCode:
    """Take a server from its address to a proven host NAME in the inventory.

    Shows the host's key before it is trusted, logs in, installs a key if
    asked, checks sudo and Python, looks at the hardware, writes the host into
    the inventory with the GPUs found, and then does what `provision` does.
    Run the same command again after a failure: it goes on where it was.

    \b
    Examples:
      gpuhost onboard gpu-07 --address 192.0.2.17 --user ops
      gpuhost onboard gpu-07 --address 192.0.2.17 --user ops --ask-password \\
          --install-key ~/.ssh/id_ed25519.pub
      gpuhost onboard gpu-07 --address 192.0.2.17 --user ops --yes \\
          --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s
    """
    from gpuhost import settings as settings_room
    from gpuhost.onboard import progress, spot, stages
    from gpuhost.ui import choose

    _require_answers(yes, options)
    settings = settings_room.load(flags(options))
    ui = choose(quiet=options["quiet"])
    place = spot.find(settings, name, options["group"])
    order = _order(name, place, options)
    with progress.begin(settings.state_dir, name, _identity(order, place)) as kept:
        if options["restart"]:
            # Whose entry the inventory has is no stage that can be gone through again.
            kept.restart(but=stages.ENTRY)
        stages.Onboarding(order, place, kept, ui, Terminal(order.user)).admit()
        report = _provision(place, settings, ui, yes)
    return finish(report, settings, as_json)


def _require_answers(yes: bool, options: dict[str, Any]) -> None:
    """Raise UsageError where it is known already that an answer will be missing."""
    if options["by_password"] and options["key"]:
        raise UsageError("--ask-password and --key exclude each other.", "Choose one.")
    if options["by_password"] and not options["install_key"]:
        raise UsageError(
            "A password opens the host this once only; Ansible logs in by key.",
            "Say which key to install: --install-key ~/.ssh/id_ed25519.pub",
        )
    if not (yes or sys.stdin.isatty()):
        raise UsageError(
            "The host may be changed and rebooted, and there is no terminal to ask at.",
            "Add --yes.",
        )


def _order(name: str, place: Spot, options: dict[str, Any]) -> Order:
    from gpuhost.onboard.access import read_public
    from gpuhost.onboard.host_key import Place, check_fingerprint
    from gpuhost.onboard.login import read_private
    from gpuhost.onboard.stages import Order

    user = options["user"] or place.host.variables.get("ansible_user")
    if not user:
        raise UsageError(
            f"Who logs in to {name}? The group {place.group} has no ansible_user.",
            "Say it with --user.",
        )
    if options["key"]:
        read_private(options["key"])
    if options["install_key"]:
        read_public(options["install_key"])
    fingerprint = options["fingerprint"]
    return Order(
        name=name,
        place=Place(options["address"], options["port"]),
        user=str(user),
        fingerprint=check_fingerprint(fingerprint) if fingerprint else None,
        key=options["key"],
        install_key=options["install_key"],
        by_password=options["by_password"],
        passwordless_sudo=options["passwordless_sudo"],
    )


def _identity(order: Order, place: Spot) -> dict[str, Any]:
    return {
        "address": order.place.address,
        "port": order.place.port,
        "user": order.user,
        "file": str(place.file),
        "group": place.group,
    }


def _provision(place: Spot, settings: Settings, ui: Ui, yes: bool) -> RunReport:
    """The other use cases, on the host that is in the inventory now."""
    from dataclasses import replace

    from gpuhost import provision as use_case
    from gpuhost.onboard.learn import declare_model
    from gpuhost.targets import resolve

    settings = replace(settings, inventory=place.inventory)
    targets = resolve(settings, [place.host.name])
    planned = use_case.make_plans(targets, settings, ui)
    show_plans(planned, err=True)
    if not yes:
        _confirm(list(planned.plans.values()))
    return use_case.provision(
        targets,
        settings,
        ui,
        planned,
        passwords=ask_passwords(targets.only(planned.plans), planned, everyone=False),
        before_proof=lambda through: declare_model(through, place, settings, ui),
    )


def _confirm(plans: list[HostPlan]) -> None:
    for plan in plans:
        if not plan.is_empty:
            reboot = " and reboot" if plan.reboot else ""
            click.confirm(f"This will change{reboot} {plan.host}. Go on?", abort=True, err=True)


class Terminal:
    """The person at the terminal, if there is one; the password may be in the environment."""

    def __init__(self, user: str) -> None:
        self._user = user
        # Taken out: no program that is started from here shall inherit it.
        self._password = os.environ.pop(PASSWORD, None)

    def trust(self, place: Place, key: HostKey) -> None:
        """Ask whether the key is the host's."""
        from gpuhost.onboard.host_key import HostKeyError

        click.echo(f"The host key of {place} ({key.kind}) has the fingerprint", err=True)
        click.echo(f"  {click.style(key.fingerprint, bold=True)}", err=True)
        if not sys.stdin.isatty():
            raise UsageError(
                f"Nobody is here to say whether {place} has the key {key.fingerprint}.",
                "Compare it with the one on the host's console (ssh-keygen -lf "
                "/etc/ssh/ssh_host_ed25519_key.pub), then add: --fingerprint " + key.fingerprint,
            )
        click.echo("On its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", err=True)
        if not click.confirm("Is it the host's?", err=True):
            raise HostKeyError(f"The key of {place} was not trusted.", "Nothing was changed.")

    def password(self) -> str:
        """The user's password, asked for once."""
        if self._password is None:
            if not sys.stdin.isatty():
                raise UsageError(
                    f"The password of {self._user} is needed, and there is no terminal to ask at.",
                    f"Put it into the environment variable {PASSWORD} for --ask-password and "
                    "--passwordless-sudo.",
                )
            self._password = click.prompt(
                f"Password of {self._user} on the host", hide_input=True, err=True
            )
        return str(self._password)
