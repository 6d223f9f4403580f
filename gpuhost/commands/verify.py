"""``gpuhost verify``."""

from __future__ import annotations

from typing import Any

import click

from gpuhost.commands.common import begin, common_options, finish, hosts_argument
from gpuhost.errors import ExitCode
from gpuhost.model import Suite


@click.command()
@hosts_argument
@common_options
@click.option(
    "--suite",
    type=click.Choice([str(suite) for suite in Suite]),
    help="How much: quick reads the host and starts a few containers; standard (the default) "
    "proves the partitioning too; full adds what is slow.",
)
@click.option(
    "--check", "names", multiple=True, metavar="NAME", help="Only this check; may be repeated."
)
def verify(
    hosts: tuple[str, ...],
    suite: str | None,
    names: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> ExitCode:
    """Prove that HOSTs are what they are declared to be.

    Reads each host once, starts containers with GPUs partitioned among them,
    and compares what each container sees with what it asked for. Only PASS
    is a pass: what could not be determined is UNKNOWN, and counts.
    """
    from gpuhost.checks.registry import select
    from gpuhost.verify import verify as use_case

    if names and suite:
        raise click.UsageError("--check and --suite exclude each other.")
    select(names)
    settings, targets, ui = begin(hosts, options)
    return finish(
        use_case(targets, settings, ui, names=names, suite=Suite(suite or Suite.STANDARD)),
        settings,
        as_json,
    )
