"""``gpuhost verify``."""

from __future__ import annotations

from typing import Any

import click

from gpuhost.commands.common import begin, common_options, finish, hosts_argument
from gpuhost.errors import ExitCode


@click.command()
@hosts_argument
@common_options
@click.option(
    "--check", "names", multiple=True, metavar="NAME", help="Only this check; may be repeated."
)
def verify(
    hosts: tuple[str, ...], names: tuple[str, ...], as_json: bool, **options: Any
) -> ExitCode:
    """Prove that HOSTs are what they are declared to be.

    Reads each host once, starts containers with GPUs partitioned among them,
    and compares what each container sees with what it asked for. Only PASS
    is a pass: what could not be determined is UNKNOWN, and counts.
    """
    from gpuhost.checks.registry import select
    from gpuhost.verify import verify as use_case

    select(names)
    settings, targets, ui = begin(hosts, options)
    return finish(use_case(targets, settings, ui, names=names), settings, as_json)
