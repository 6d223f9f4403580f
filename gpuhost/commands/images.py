"""``gpuhost images``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import begin, common_options, hosts_argument
from gpuhost.errors import ExitCode, UsageError, worst

if TYPE_CHECKING:
    from gpuhost.images import Answer, Image

MIB = 1 << 20


@click.command()
@hosts_argument
@common_options
@click.option("--prune", is_flag=True, help="Remove those that nothing needs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before removing.")
def images(
    hosts: tuple[str, ...], prune: bool, yes: bool, as_json: bool, **options: Any
) -> ExitCode:
    """List the images that gpuhost brought to HOSTs, by verifying and by workloads.

    With --prune it shows them, asks, and removes them. Images that were there
    before gpuhost stay, and so do those that a container uses or that somebody
    built or named since. What builds left in docker's build cache is not
    gpuhost's alone and stays too.
    """
    from gpuhost import images as use_case

    settings, targets, ui = begin(hosts, options)
    found = use_case.listed(targets, settings, ui)
    if not as_json or prune:
        _show(found, err=as_json)
    unneeded = {
        host: [one.id for one in some if not one.kept]
        for host, some in found.here.items()
        if any(not one.kept for one in some)
    }
    answers = [found]
    if prune and unneeded:
        if not yes:
            _confirm(sum(map(len, unneeded.values())))
        answers.append(use_case.remove(targets, settings, ui, unneeded))
    if as_json:
        click.echo(json.dumps(_document(answers), indent=2))
    elif prune:
        _show_removed(found, answers[-1])
    failures = [failure for answer in answers for failure in answer.failures.values()]
    for failure in failures:
        click.echo(f"{failure.host}: {failure.error}\n  {failure.error_remedy}".rstrip(), err=True)
    return worst([failure.exit_code for failure in failures])


def _show(found: Answer, *, err: bool) -> None:
    for host, some in found.here.items():
        if not some:
            click.echo(f"{host}: gpuhost brought no image that is still there", err=err)
            continue
        click.echo(f"{click.style(host, bold=True)}: gpuhost brought", err=err)
        for one in some:
            kept = f"  kept: {one.kept}" if one.kept else ""
            click.echo(f"  {one.reference:<48} {_size([one]):>10}  {one.at[:10]}{kept}", err=err)


def _confirm(count: int) -> None:
    what = f"remove {count} image{'s' if count > 1 else ''}"
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}, and there is no terminal to ask.", "Add --yes.")
    click.confirm(f"This will {what}. Go on?", abort=True, err=True)


def _show_removed(found: Answer, answer: Answer) -> None:
    for host, some in found.here.items():
        gone = [one for one in some if one.id in answer.removed.get(host, ())]
        size = f", {_size(gone)} at most" if gone else ""
        click.echo(f"{host}: {len(gone)} removed{size}")


def _size(some: Sequence[Image]) -> str:
    return f"{sum(one.size_bytes for one in some) / MIB:.0f} MiB"


def _document(answers: Sequence[Answer]) -> dict[str, Any]:
    first, last = answers[0], answers[-1]
    return {
        "schema_version": 1,
        "hosts": [
            {
                "host": host,
                "images": [
                    {**asdict(one), "removed": one.id in last.removed.get(host, ())} for one in some
                ],
            }
            for host, some in first.here.items()
        ],
        "failures": [
            {"host": failure.host, "error": failure.error, "remedy": failure.error_remedy}
            for answer in answers
            for failure in answer.failures.values()
        ],
    }
