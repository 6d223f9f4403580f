"""``gpuhost mirror``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from gpuhost.commands.common import InOrder
from gpuhost.errors import ExitCode, UsageError


@click.group(cls=InOrder)
def mirror() -> None:
    """Signed package mirrors for sites without the internet."""


@mirror.command("build")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--os", "system", required=True, help="Whose packages, e.g. ubuntu2404 or rhel9.")
@click.option("--url", required=True, help="URL under which hosts will reach DIR/www.")
@click.option("--driver", default="", help="Branch or version of the driver, e.g. 580.")
@click.option(
    "--modules",
    type=click.Choice(["open", "proprietary"]),
    default="open",
    show_default=True,
    help="Kernel modules of the driver.",
)
@click.option(
    "--nvswitch", is_flag=True, help="There are hosts with NVSwitches: also the fabric manager."
)
@click.option("--docker", default="", help="Version of docker-ce; the newest by default.")
@click.option("--containerd", default="", help="Version of containerd.io; the newest by default.")
@click.option("--toolkit", default="", help="Version of the toolkit; the newest by default.")
@click.option(
    "--variables",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML with variables of the roles, e.g. the URLs of another mirror to download from.",
)
@click.option(
    "--packages",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Download nothing: folder with the .deb or .rpm files to serve (amd64).",
)
def mirror_build(
    folder: Path, system: str, url: str, packages: Path | None, **wanted: Any
) -> ExitCode:
    """Build or extend the mirror in DIR, out of the vendors' repositories or of package files.

    What is downloaded is what the roles install, with what it needs of the same
    repositories; each index is verified by its key's fingerprint and each file by
    its checksum. Ended early, the same command goes on.

    \b
    DIR/www         what to serve, with any web server
    DIR/packages    what was downloaded
    DIR/keys        the mirror's signing keys: keep them private
    DIR/group_vars  variables for the inventory, a file for each operating system
    """
    from gpuhost.mirror import layout, upstream
    from gpuhost.mirror.build import build
    from gpuhost.ui import choose

    found, streams = layout.find(system), ""
    if not re.match(r"https?://.|file:.", url):
        raise UsageError(f"{url!r} is no URL.", "Give one like --url http://mirror.example.com")
    if packages is None:
        asked = upstream.Wanted(**{**wanted, "variables": _variables(wanted["variables"])})
        packages = folder / "packages" / found.name
        there = upstream.download(packages, found, asked, choose().say)
        streams = there.modules
        click.echo(f"{there.packages} packages are in {there.folder}, {there.fresh} of them new.")
    built = build(folder, found, packages, url, streams)
    click.echo(f"The mirror for {system} is in {built.www}:")
    click.echo(f"  docker {built.docker}, driver {built.driver}, toolkit {built.toolkit} packages")
    click.echo("Next:")
    click.echo(f"  serve {built.www} as {url}")
    click.echo(f"  copy {built.group_vars} to your inventory's group_vars")
    click.echo("  copy images into your registry: skopeo copy --all docker://IMAGE docker://YOURS")
    return ExitCode.OK


def _variables(file: Path | None) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{file} is no YAML: {why}.", "Correct the file.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds no variables.", "Write them as NAME: VALUE lines.")
    return content
