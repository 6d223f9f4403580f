"""``gpuhost completion``, and what the arguments of the commands are completed to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from gpuhost.errors import ExitCode, GpuhostError

if TYPE_CHECKING:
    from gpuhost.settings import Settings

# Under this name click looks for what the shell asks; the printed scripts set it.
VARIABLE = "_GPUHOST_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
NEWEST_RUNS = 20

Words = Callable[[click.Context], Iterable[tuple[str, str]]]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> ExitCode:
    """Print the script that lets SHELL complete gpuhost's commands, hosts and checks.

    \b
      bash   eval "$(gpuhost completion bash)"            in ~/.bashrc
      zsh    eval "$(gpuhost completion zsh)"             in ~/.zshrc, after compinit
      fish   gpuhost completion fish | source             in ~/.config/fish/config.fish
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None  # noqa: S101  (click has all of SHELLS)
    click.echo(shell_class(context.find_root().command, {}, "gpuhost", VARIABLE).source())
    return ExitCode.OK


def completer(words: Words) -> Completer:
    """Completes to ``words`` (each with what is said of it); to nothing where they fail."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        given = {word for value in context.params.values() for word in _listed(value)}
        try:
            return [
                CompletionItem(word, help=about)
                for word, about in words(context)
                if word.startswith(incomplete) and word not in given
            ]
        except (GpuhostError, OSError):
            # Who presses Tab cannot be told; the command itself will say what is wrong.
            return []

    return complete


def _listed(value: object) -> Iterator[str]:
    """The words of an argument that takes several: none of them is wanted again."""
    if isinstance(value, tuple):
        yield from (word for word in value if isinstance(word, str))


def _settings(context: click.Context) -> Settings:
    from gpuhost import settings as settings_room

    return settings_room.load({"inventory": context.params.get("inventory")})


def _hosts_and_groups(context: click.Context) -> Iterator[tuple[str, str]]:
    """What the inventories name; where that takes Ansible, the hosts that were verified before."""
    from gpuhost.inventory_names import names
    from gpuhost.targets import inventories

    found = [names(path) for path in inventories(_settings(context))]
    hosts = [host for of_one, _ in found for host in of_one]
    for host in dict.fromkeys(hosts or [host for host, _ in _known_hosts(context)]):
        yield host, ""
    for group in dict.fromkeys(group for _, of_one in found for group in of_one):
        yield group, "group"


def _known_hosts(context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost.history import DATABASE, open_history

    folder = _settings(context).state_dir
    if (folder / DATABASE).exists():
        with open_history(folder) as store:
            yield from ((name, "") for name in store.hosts())


def _runs(context: click.Context) -> Iterator[tuple[str, str]]:
    runs = sorted(_settings(context).runs_dir.glob("2*Z-*"), reverse=True)
    yield from ((path.name, "") for path in runs[:NEWEST_RUNS])


def _runs_and_latest(context: click.Context) -> Iterator[tuple[str, str]]:
    yield "latest", "the newest run"
    yield from _runs(context)


def runs_or_file(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes to runs, and has the shell add files where none of them fits."""
    files = CompletionItem(incomplete, type="file")
    return [files, *completer(_runs_and_latest)(context, parameter, incomplete)]


def _checks(_context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost.checks import catalog

    yield from ((info.name, info.title) for info in catalog())


def _lab_hosts(_context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost import lab

    yield from ((host.name, f"{host.gpus} × {host.model}") for host in lab.list_hosts())


def _faults(_context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost.lab import faults

    yield from ((fault.name, fault.about) for fault in faults.all_faults())


def _models(_context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost.lab.gpu import models

    yield from ((name, models.find(name).name) for name in models.names())


def _pasts(_context: click.Context) -> Iterator[tuple[str, str]]:
    from gpuhost.lab import histories

    yield from ((past.name, past.about) for past in histories.HISTORIES.values())


hosts_and_groups = completer(_hosts_and_groups)
known_hosts = completer(_known_hosts)
runs = completer(_runs)
checks = completer(_checks)
lab_hosts = completer(_lab_hosts)
faults = completer(_faults)
models = completer(_models)
pasts = completer(_pasts)
