"""``gpuhost docker``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from gpuhost.commands.common import flags
from gpuhost.commands.completion import hosts_and_groups
from gpuhost.errors import ExitCode, UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-i",
    "--inventory",
    type=click.Path(path_type=Path),
    help="Ansible inventory (default: the project's inventories/ folder).",
)
@click.argument("host", metavar="HOST", shell_complete=hosts_and_groups)
@click.argument("arguments", nargs=-1, required=True, metavar="-- ARGUMENT...")
def docker(inventory: Path | None, host: str, arguments: tuple[str, ...]) -> ExitCode:
    """Run the docker command line on HOST, as if typed there.

    Logs in as Ansible does, and uses sudo where the user is not in the docker
    group. Input, output, the terminal and the exit code are docker's own; 255 is
    ssh's, for a host that cannot be reached.

    \b
    Examples:
      gpuhost docker gpu-01 -- ps -a
      gpuhost docker gpu-01 -- logs --follow trainer
      gpuhost docker gpu-01 -- exec -it trainer bash
    """
    from gpuhost import remote_docker
    from gpuhost import settings as settings_room
    from gpuhost.targets import connection

    words = arguments[1:] if arguments[0] == "--" else arguments
    if not words:
        raise UsageError("There is nothing for docker to do.", f"gpuhost docker {host} -- ps -a")
    settings = settings_room.load(flags({"inventory": inventory}))
    found = connection(settings, host, remote_docker.VARIABLES)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    argv = remote_docker.command(found.address, found.variables, words, terminal=terminal)
    sys.stdout.flush()
    # Nothing of gpuhost's stands between docker and the terminal, signals included.
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except FileNotFoundError:
        raise UsageError(f"There is no {argv[0]} on this machine.", "Install it.") from None
