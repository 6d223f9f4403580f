"""``gpuhost history``, ``diff`` and ``status``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gpuhost.commands.completion import known_hosts, runs
from gpuhost.errors import ExitCode, UsageError
from gpuhost.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuhost.history import History
    from gpuhost.history.records import Examination
    from gpuhost.history.standing import Standing

SHOWN_RUNS = 20


@click.command()
@click.argument("host", required=False, shell_complete=known_hosts)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=SHOWN_RUNS,
    show_default=True,
    help="How many are listed.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.option("--rebuild", is_flag=True, help="Make the history anew from the kept reports.")
def history(host: str | None, limit: int, as_json: bool, rebuild: bool) -> ExitCode:
    """List the runs, or what they found on HOST: newest first."""
    from gpuhost.history import open_history
    from gpuhost.report import history as view

    settings = _settings()
    if rebuild:
        return _rebuild()
    with open_history(settings.state_dir) as store:
        if host is None:
            runs = store.runs(limit)
            view.write_runs(runs, sys.stdout) if not as_json else _print([vars(r) for r in runs])
            return ExitCode.OK
        found = store.of_host(_known(store, host), limit)
    if as_json:
        _print([_examination(examination) for examination in found])
    else:
        view.write_host(found, sys.stdout)
    return ExitCode.OK


def _rebuild() -> ExitCode:
    from gpuhost.history.keeping import rebuild

    settings = _settings()
    aside, count = rebuild(settings.state_dir, settings.runs_dir)
    click.echo(f"The history was made anew from {count} kept reports.")
    if aside:
        click.echo(f"The old one is {aside}.")
    return ExitCode.OK


@click.command()
@click.argument("before", required=False, metavar="[RUN]", shell_complete=runs)
@click.argument("after", required=False, metavar="[RUN]", shell_complete=runs)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def diff(before: str | None, after: str | None, as_json: bool) -> ExitCode:
    """Show what became otherwise between two runs (by default the last two).

    New failures, recoveries, what still fails, what flaps; for each host the
    facts that changed. RUN is a run's id or its beginning; see `gpuhost history`.
    """
    from gpuhost.history import open_history
    from gpuhost.history.diff import between
    from gpuhost.report import history as view

    with open_history(_settings().state_dir) as store:
        old, new = _two_runs(store, before, after)
        found = between(store, old, new)
    if as_json:
        _print({"before": old, "after": new, "hosts": [host.document() for host in found]})
    else:
        view.write_diff(old, new, found, sys.stdout)
    return ExitCode.OK


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST...]", shell_complete=known_hosts)
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def status(hosts: tuple[str, ...], as_json: bool) -> ExitCode:
    """Show how the fleet stood when it was last verified; asks no host.

    A host that failed is in quarantine until it passes every check again.
    Exits with 1 where one of the hosts shown is in quarantine.
    """
    from gpuhost.history import open_history
    from gpuhost.history.standing import standing
    from gpuhost.report import history as view

    with open_history(_settings().state_dir) as store:
        names = [_known(store, name) for name in hosts] or store.hosts()
        found = [standing(examinations) for name in names if (examinations := store.of_host(name))]
    if as_json:
        _print([_standing(each) for each in found])
    else:
        view.write_status(found, sys.stdout)
    return ExitCode.FAILED if any(each.quarantined for each in found) else ExitCode.OK


def _settings() -> Any:
    from gpuhost import settings as settings_room

    return settings_room.load({})


def _known(store: History, host: str) -> str:
    names = store.hosts()
    if host not in names:
        raise UsageError(
            f"The history has no host {host!r}.{did_you_mean(host, names)}",
            "Hosts get there with: gpuhost verify HOST",
        )
    return host


def _two_runs(store: History, before: str | None, after: str | None) -> tuple[str, str]:
    ids = [run.run_id for run in store.runs()]
    if before is None and len(ids) < 2:  # noqa: PLR2004  (it takes two to compare)
        raise UsageError("There are not two runs to compare yet.", "Make one: gpuhost verify HOST")
    old = ids[1] if before is None else _run_id(ids, before)
    return old, ids[0] if after is None else _run_id(ids, after)


def _run_id(ids: Sequence[str], given: str) -> str:
    matches = [run_id for run_id in ids if run_id.startswith(given)]
    if len(matches) != 1:
        many = f"{len(matches)} runs begin with" if matches else "There is no run"
        raise UsageError(f"{many} {given!r}.", "List them with: gpuhost history")
    return matches[0]


def _examination(examination: Examination) -> dict[str, Any]:
    return {
        "run": examination.run.run_id,
        "started": examination.run.started,
        "verdict": examination.verdict,
        "error": examination.error,
        "facts": dict(examination.facts),
        "checks": {name: str(verdict) for name, verdict in examination.verdicts.items()},
        "summaries": dict(examination.summaries),
    }


def _standing(found: Standing) -> dict[str, Any]:
    return {
        "host": found.host,
        "verdict": found.last.verdict,
        "last_run": found.last.run.started,
        "last_full_pass": found.last_full_pass or None,
        "quarantined": found.quarantined,
        "quarantined_since": found.quarantined_since or None,
        "failing": [vars(failing) for failing in found.failing],
    }


def _print(document: Any) -> None:
    click.echo(json.dumps(document, indent=2, default=str))
