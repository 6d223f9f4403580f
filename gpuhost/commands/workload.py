"""``gpuhost workload``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.common import InOrder, begin, common_options
from gpuhost.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpuhost.workloads.fetch import Outputs

Command = Callable[..., Any]
SHOWN_FILES = 20
set_option = click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated."
)
host_argument = click.argument("host", metavar="HOST")
name_argument = click.argument("name", metavar="WORKLOAD")


def gpus_option(shown: str, default: str | None = "all") -> Callable[[Command], Command]:
    """--gpus, as docker has it and by UUID; ``shown`` is what the default is called."""
    return click.option(
        "--gpus",
        default=default,
        show_default=shown,
        metavar="all|none|ID,...",
        help="GPUs by index (of a divided one G:M) or UUID.",
    )


@click.group(cls=InOrder)
def workload() -> None:
    """What people run on GPU hosts: trainings and servers, as Compose files."""


@workload.command("list")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def workload_list(as_json: bool) -> ExitCode:
    """List the workloads: gpuhost's own, and those in the project's folder workloads/."""
    from gpuhost.settings import find_project
    from gpuhost.workloads.definition import folders, load

    found = [load(folder) for folder in folders(find_project(Path.cwd())).values()]
    if as_json:
        rows = [
            {"name": o.name, "kind": o.kind, "description": o.description, "folder": str(o.folder)}
            for o in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return ExitCode.OK
    for one in found:
        click.echo(f"{one.name:<16} {one.description}")
    return ExitCode.OK


@workload.command("show")
@name_argument
def workload_show(name: str) -> ExitCode:
    """Show a workload's parameters and where its files are."""
    definition = _find(name)
    click.echo(f"{click.style(definition.name, bold=True)}  {definition.description}")
    click.echo(f"{definition.folder}\n")
    for parameter in definition.parameters.values():
        limits = f" ({parameter.range})" if parameter.range else ""
        default = json.dumps(parameter.default)
        click.echo(
            f"  {parameter.name:<16} {parameter.type:<6} {default:<12} {parameter.help}{limits}"
        )
    return ExitCode.OK


@workload.command("render")
@name_argument
@set_option
@gpus_option("all")
@click.option(
    "--as",
    "form",
    type=click.Choice(["compose", "docker-run"]),
    default="compose",
    show_default=True,
)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    help="Write it to this new folder instead, with all that docker compose builds from.",
)
def workload_render(
    name: str, given: tuple[str, ...], gpus: str, form: str, folder: Path | None
) -> ExitCode:
    """Print a workload as a Compose file, or as one docker run command line.

    \b
    Examples:
      gpuhost workload render training --gpus 0 --as docker-run
      gpuhost workload render training --set source=project.tar.gz --to handed-over/
    """
    from gpuhost.workloads.archives import lay_out
    from gpuhost.workloads.definition import COMPOSE
    from gpuhost.workloads.docker_run import docker_run
    from gpuhost.workloads.parameters import resolve
    from gpuhost.workloads.render import NONE, as_text, render

    definition = _find(name)
    ids = () if gpus == NONE else tuple(gpus.split(","))
    values = resolve(definition.parameters, given)
    compose = render(definition, values, ids)
    if folder is not None:
        if folder.exists():
            raise UsageError(f"{folder} is there already.", "Name a new folder.")
        lay_out(definition, values, folder)
        (folder / COMPOSE).write_text(as_text(compose), encoding="utf-8")
        click.echo(f"{folder} has it. Next, where docker is:")
        click.echo(f"  cd {shlex.quote(str(folder))} && docker compose up --build")
        return ExitCode.OK
    click.echo(as_text(compose).rstrip() if form == "compose" else docker_run(compose))
    return ExitCode.OK


@workload.command("run")
@host_argument
@name_argument
@common_options
@set_option
@gpus_option("all")
@click.option("--share", is_flag=True, help="Also GPUs that somebody uses.")
@click.option("--detach", is_flag=True, help="Do not wait for its end.")
def workload_run(
    host: str, name: str, as_json: bool, given: tuple[str, ...], **options: Any
) -> ExitCode:
    """Run a workload on HOST, on GPUs that nobody uses, and show the end of its log.

    Before it starts, a container of each of its services has to see exactly the
    GPUs that were asked for. A job is waited for, and it is a failure if a
    container ends with an error; a service is waited for until its probes find
    all right, and then runs on.

    \b
    Examples:
      gpuhost workload run gpu-01 training --gpus 0 --set epochs=10
      gpuhost workload run gpu-01 training --gpus none
    """
    from gpuhost.workloads import work
    from gpuhost.workloads.definition import JOB
    from gpuhost.workloads.parameters import resolve

    definition = _find(name)
    values = resolve(definition.parameters, given)
    settings, targets, ui = begin((host,), options)
    awaited = work.FINISHED if definition.kind == JOB else work.READY
    done = work.start(
        work.one_host(targets),
        settings,
        ui,
        definition,
        values,
        asked_gpus=options["gpus"],
        share=options["share"],
        state=work.STARTED if options["detach"] else awaited,
    )
    if as_json:
        click.echo(json.dumps(done.found, indent=2))
    elif options["detach"] or definition.kind != JOB:
        click.echo(f"{name} runs on {host}. Next:\n  gpuhost workload logs {host} {name}")
    else:
        click.echo(done.log.rstrip("\n"))
    return ExitCode.OK


@workload.command("verify")
@host_argument
@name_argument
@common_options
@set_option
@gpus_option("as many as it needs", None)
def workload_verify(
    host: str, name: str, as_json: bool, given: tuple[str, ...], **options: Any
) -> ExitCode:
    """Prove that a workload works on HOST, and leave nothing of it there.

    It is started beside whatever else runs, on free GPUs that it has to see exactly,
    asked what its definition has as probes, judged, and removed with its volumes and
    outputs. What it needs for itself (ports, GPUs) has to be free.

    \b
    Examples:
      gpuhost workload verify gpu-01 training --gpus 1
      gpuhost verify gpu-01 --suite workloads      the host, and all that it declares
    """
    from gpuhost.commands.common import finish
    from gpuhost.workload_suite import verify_workload
    from gpuhost.workloads import work
    from gpuhost.workloads.proof import work_of

    chosen = work_of(_find(name), given, options["gpus"])
    settings, targets, ui = begin((host,), options)
    report = verify_workload(work.one_host(targets), settings, ui, chosen)
    return finish(report, settings, as_json)


@workload.command("ps")
@host_argument
@common_options
def workload_ps(host: str, as_json: bool, **options: Any) -> ExitCode:
    """List the containers of all workloads on HOST."""
    found = _ask(host, options, state="listed")["containers"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return ExitCode.OK
    if not found:
        click.echo(f"No workload is on {host}.")
    for row in found:
        click.echo(f"{row['workload']:<16} {row['container']:<32} {row['status']}")
    return ExitCode.OK


@workload.command("logs")
@host_argument
@name_argument
@common_options
@click.option("--tail", type=click.IntRange(min=1), default=200, show_default=True, help="Lines.")
def workload_logs(host: str, name: str, as_json: bool, tail: int, **options: Any) -> ExitCode:
    """Show the end of a workload's log."""
    found = _ask(host, options, state="logs", name=name, tail=tail)
    click.echo(json.dumps(found, indent=2) if as_json else found["log"].rstrip("\n"))
    return ExitCode.OK


@workload.command("stop")
@host_argument
@name_argument
@common_options
def workload_stop(host: str, name: str, as_json: bool, **options: Any) -> ExitCode:
    """End a workload's containers; they stay to be looked at."""
    found = _ask(host, options, state="stopped", name=name)
    click.echo(json.dumps(found) if as_json else f"{name} is stopped on {host}.")
    return ExitCode.OK


@workload.command("rm")
@host_argument
@name_argument
@common_options
def workload_rm(host: str, name: str, as_json: bool, **options: Any) -> ExitCode:
    """Remove a workload's containers, volumes and files from HOST; its outputs stay."""
    found = _ask(host, options, state="absent", name=name)
    click.echo(json.dumps(found) if as_json else f"{name} is removed from {host}.")
    return ExitCode.OK


@workload.command("fetch")
@host_argument
@name_argument
@click.argument("dest", required=False, type=click.Path(path_type=Path))
@common_options
@set_option
@click.option("--list", "only_list", is_flag=True, help="Only show what there is.")
@click.option("--overwrite", is_flag=True, help="Replace files in DEST that differ.")
def workload_fetch(
    host: str, name: str, dest: Path | None, as_json: bool, given: tuple[str, ...], **options: Any
) -> ExitCode:
    """Bring what a workload left on HOST (checkpoints, logs) to DEST, by default HOST-WORKLOAD.

    The workload's file on the host says in which folder it is; after
    `workload rm` --set outputs= does. Files that are in DEST already are not
    brought again, and files that differ are left alone: it is an error if there
    are any. A fetch that was cut short goes on where it was.

    \b
    Examples:
      gpuhost workload fetch gpu-01 training --list
      gpuhost workload fetch gpu-01 training results/
    """
    from gpuhost.workloads.fetch import fetch
    from gpuhost.workloads.parameters import resolve
    from gpuhost.workloads.work import one_host

    definition = _find(name)
    settings, targets, ui = begin((host,), options)
    target = None if options["only_list"] else dest or Path(f"{host}-{name}")
    found = fetch(
        one_host(targets),
        settings,
        ui,
        definition,
        resolve(definition.parameters, given),
        dest=target,
        overwrite=options["overwrite"],
    )
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        _show_outputs(host, found, target)
    return ExitCode.OK


def _show_outputs(host: str, found: Outputs, dest: Path | None) -> None:
    from gpuhost.workloads.fetch import readable

    click.echo(f"{host}:{found.folder}")
    largest = sorted(found.files, key=lambda file: -file[1])
    for name, size in largest[:SHOWN_FILES]:
        click.echo(f"  {readable(size):>10}  {name}")
    if largest[SHOWN_FILES:]:
        rest = sum(size for _, size in largest[SHOWN_FILES:])
        click.echo(f"  {readable(rest):>10}  in {len(largest) - SHOWN_FILES} smaller files")
    for name in found.skipped:
        click.echo(f"  {'–':>10}  {name} is no file")
    count = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
    what = f"{count}, {readable(found.size)}"
    there = len(found.files) - len(found.brought)
    click.echo(what if dest is None else f"{what}, in {dest}; {there} were there already")


def _ask(host: str, options: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    from gpuhost.workloads import work

    settings, targets, ui = begin((host,), options)
    return dict(work.ask(work.one_host(targets), settings, ui, arguments).found)


def _find(name: str) -> Any:
    from gpuhost.settings import find_project
    from gpuhost.workloads.definition import find

    return find(find_project(Path.cwd()), name)
