"""``gpuhost mirror``."""

from __future__ import annotations

from pathlib import Path

import click

from gpuhost.commands.common import InOrder
from gpuhost.errors import ExitCode


@click.group(cls=InOrder)
def mirror() -> None:
    """Signed package mirrors for sites without the internet."""


@mirror.command("build")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--packages",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the .deb files to serve (amd64).",
)
@click.option("--os", "system", required=True, help="Their operating system, e.g. debian12.")
@click.option("--url", required=True, help="URL under which hosts will reach DIR/www.")
def mirror_build(folder: Path, packages: Path, system: str, url: str) -> ExitCode:
    """Build or extend the mirror in DIR out of package files.

    \b
    DIR/www         what to serve, with any web server
    DIR/keys        the mirror's signing keys: keep them private
    DIR/group_vars  variables for the inventory, a file for each operating system
    """
    from gpuhost.mirror import layout
    from gpuhost.mirror.build import build

    built = build(folder, layout.find(system), packages, url)
    click.echo(f"The mirror for {system} is in {built.www}:")
    click.echo(f"  docker {built.docker}, driver {built.driver}, toolkit {built.toolkit} packages")
    click.echo("Next:")
    click.echo(f"  serve {built.www} as {url}")
    click.echo(f"  copy {built.group_vars} to your inventory's group_vars")
    return ExitCode.OK
