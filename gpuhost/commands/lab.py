"""``gpuhost lab``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from gpuhost.commands.common import InOrder
from gpuhost.commands.completion import faults as fault_names
from gpuhost.commands.completion import lab_hosts, pasts
from gpuhost.commands.completion import models as gpu_models
from gpuhost.errors import ExitCode, UsageError


@click.group(cls=InOrder)
def lab() -> None:
    """Rehearsal hosts on this machine: real systemd, docker and reboots, simulated GPUs."""


@lab.command("up")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--gpus", type=click.IntRange(0, 16), default=4, show_default=True, help="GPUs each.")
@click.option(
    "--model",
    default="A100",
    show_default=True,
    help="GPU model; see `lab models`.",
    shell_complete=gpu_models,
)
@click.option(
    "--os",
    "release",
    default="debian12",
    show_default=True,
    help="Operating system of the host: debian12, debian13, or one that it says it is: "
    "ubuntu2204, ubuntu2404, ubuntu2604, rocky9, rocky10.",
)
@click.option(
    "--history",
    "past",
    multiple=True,
    metavar="NAME",
    shell_complete=pasts,
    help="What its past left on the host, several allowed; see `lab histories`.",
)
@click.option(
    "--unlisted",
    is_flag=True,
    help="As an installer leaves it: in no inventory, with a password login; for `onboard`.",
)
def lab_up(
    names: tuple[str, ...],
    *,
    gpus: int,
    model: str,
    release: str,
    past: tuple[str, ...],
    unlisted: bool,
) -> ExitCode:
    """Start rehearsal hosts (by default lab-01) and write inventories/lab."""
    from gpuhost import lab as room
    from gpuhost.settings import find_project
    from gpuhost.ui import choose

    names = names or ("lab-01",)
    hosts = room.up(
        names,
        gpus=gpus,
        model=model,
        release=release,
        project=find_project(Path.cwd()),
        progress=choose().say,
        past=past,
        listed=not unlisted,
    )
    click.echo(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} up. Next:")
    for host in [host for host in hosts if not host.listed]:
        click.echo(f"  gpuhost onboard {host.name} {room.onboard_options(host)}")
        click.echo(f"  The password is {room.password(host)}")
    listed = [host.name for host in hosts if host.listed]
    if listed:
        click.echo(f"  gpuhost provision {' '.join(listed)}")
    return ExitCode.OK


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def lab_list(as_json: bool) -> ExitCode:
    """List the rehearsal hosts of this machine."""
    from gpuhost import lab as room

    found = room.list_hosts()
    if as_json:
        click.echo(json.dumps([asdict(host) for host in found], indent=2, default=str))
        return ExitCode.OK
    if not found:
        click.echo("There are no rehearsal hosts. Start one with: gpuhost lab up")
    for host in found:
        gpus = f"{host.gpus} × {host.model}"
        click.echo(f"{host.name:<12} {host.address:<14} {host.os:<9} {gpus:<12} {host.state}")
    return ExitCode.OK


@lab.command("models")
def lab_models() -> ExitCode:
    """List the GPU models that can be simulated."""
    from gpuhost.lab.gpu import models

    for name in models.names():
        click.echo(f"{name:<8} {models.find(name).name}")
    return ExitCode.OK


@lab.command("histories")
def lab_histories() -> ExitCode:
    """List the pasts that a rehearsal host can be given."""
    from gpuhost.lab import histories

    for history in histories.HISTORIES.values():
        click.echo(f"{history.name:<20} {history.about}")
    return ExitCode.OK


@lab.command("image")
@click.argument("name")
def lab_image(name: str) -> ExitCode:
    """Build a large image for the lab's registry, with the software itself in it.

    It computes on the CPU. pytorch is for the benchmark, by gpuhost_ngc_image in the
    inventory, and for trainings; torchserve, triton and mlflow are for the workloads of
    these names.
    """
    from gpuhost import lab as room
    from gpuhost.ui import choose

    reference = room.add_image(name, progress=choose().say)
    click.echo(f"The lab's registry has {reference}. Next:")
    if name == "pytorch":
        click.echo(f"  gpuhost verify HOST --suite full  # with gpuhost_ngc_image: {reference}")
    else:
        click.echo("  gpuhost workload list")
    return ExitCode.OK


@lab.command("ssh", context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=lab_hosts)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def lab_ssh(name: str, command: tuple[str, ...]) -> ExitCode:
    """Log in to a rehearsal host, or run COMMAND on it."""
    from gpuhost import lab as room

    argv = [*room.ssh_argv(name), *command]
    os.execvp(argv[0], argv)  # noqa: S606  (ssh takes the terminal over)


@lab.command("fault")
@click.argument("host", required=False, shell_complete=lab_hosts)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=fault_names)
@click.option("--list", "listing", is_flag=True, help="What can go wrong; of HOST: what does.")
@click.option("--clear", is_flag=True, help="Mend the named faults; all that were made by default.")
def lab_fault(host: str | None, names: tuple[str, ...], listing: bool, clear: bool) -> ExitCode:
    """Let something go wrong with a rehearsal host, or mend it."""
    from gpuhost import lab as room
    from gpuhost.lab import faults

    if listing or host is None:
        shown = faults.made(room.execute, host) if host else faults.all_faults()
        for fault in shown:
            click.echo(f"{fault.area:<9} {fault.name:<26} {fault.about}")
        if host and not shown:
            click.echo(f"Nothing was made to go wrong with {host}.")
        return ExitCode.OK
    if clear:
        mended = [faults.find(name) for name in names] or list(faults.made(room.execute, host))
        for fault in mended:
            faults.clear(room.execute, host, fault)
            click.echo(f"{host}: {fault.name} is mended")
        return ExitCode.OK
    if not names:
        raise UsageError("Which fault?", "List them with: gpuhost lab fault --list")
    for fault in [faults.find(name) for name in names]:
        faults.inject(room.execute, host, fault)
        click.echo(f"{host}: {fault.about}")
    click.echo(f"See what is said of it: gpuhost verify {host}")
    click.echo(f"Mend it:                gpuhost lab fault {host} --clear")
    return ExitCode.OK


@lab.command("down")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=lab_hosts)
@click.option("--all", "everything", is_flag=True, help="Every host, the network and the servers.")
def lab_down(names: tuple[str, ...], everything: bool) -> ExitCode:
    """Remove rehearsal hosts; what was built stays cached."""
    from gpuhost import lab as room
    from gpuhost.ui import choose

    if bool(names) == everything:
        raise UsageError("Name the hosts to remove, or say --all.", "gpuhost lab list shows them.")
    if everything:
        room.down_all(choose().say)
    else:
        room.down(names, choose().say)
    return ExitCode.OK
