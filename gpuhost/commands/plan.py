"""``gpuhost plan``."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpuhost.commands.common import begin, common_options, hosts_argument
from gpuhost.components import COMPONENTS
from gpuhost.errors import ExitCode, worst

if TYPE_CHECKING:
    from gpuhost.plan import HostPlan
    from gpuhost.provision import Planned

LABEL_WIDTH = 8
ACTION_WIDTH = 9
SHOWN_SUBJECTS = 5
LEAST_WIDTH = 60
DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command()
@hosts_argument
@common_options
@click.option("--diff", is_flag=True, help="Show how the text of files would change.")
def plan(hosts: tuple[str, ...], as_json: bool, diff: bool, **options: Any) -> ExitCode:
    """Show what `provision` would change on HOSTs; change nothing.

    With it comes all that provisioning would stop for before it changes
    anything; where there is such a thing, the exit code is 1.
    """
    from gpuhost import provision as use_case

    settings, targets, ui = begin(hosts, options)
    planned = use_case.make_plans(targets, settings, ui)
    if as_json:
        _print_plans_json(planned)
    else:
        show_plans(planned, err=False)
        if diff:
            show_diffs(planned)
        for failure in planned.failures.values():
            click.echo(f"{failure.host}: {failure.error}\n  {failure.error_remedy}", err=True)
    codes = [failure.exit_code for failure in planned.failures.values()]
    codes += [ExitCode.UNREACHABLE for one in planned.plans.values() if one.unreadable]
    codes += [ExitCode.FAILED for one in planned.plans.values() if one.blockers]
    return worst(codes)


def show_plans(planned: Planned, *, err: bool) -> None:
    """Print what would change, hosts with the same plan together.

    To stderr where a result follows on stdout.
    """
    from gpuhost.rollout import shortened

    alike: dict[HostPlan, list[str]] = {}
    for host_plan in planned.plans.values():
        alike.setdefault(replace(host_plan, host=""), []).append(host_plan.host)
    for host_plan, hosts in alike.items():
        _show(shortened(hosts), host_plan, err=err)
    for host, users in planned.busy.items():
        click.echo(f"{host} is busy, and this would disturb: {'; '.join(users)}", err=err)
    for report in planned.drained.values():
        click.echo(f"{report.host}: {report.skipped}; it is left alone", err=err)


def show_diffs(planned: Planned) -> None:
    """Print how the text of files would change, once for all hosts where it is the same."""
    from gpuhost.rollout import shortened

    alike: dict[str, list[str]] = {}
    for one in planned.plans.values():
        for change in one.changes:
            if change.diff:
                alike.setdefault(change.diff, []).append(one.host)
    for hosts, found in groupby(alike.items(), lambda item: item[1]):
        click.echo(f"\n{click.style(shortened(hosts), bold=True)}")
        for text, _ in found:
            for line in text.splitlines():
                click.echo(click.style(line, fg=DIFF_COLOURS.get(line[:1])))


def _show(hosts: str, host_plan: HostPlan, *, err: bool) -> None:
    if host_plan.is_empty:
        unsure = " that can be told from here" if host_plan.runs else ""
        click.echo(f"{hosts}: nothing to change{unsure}", err=err)
    else:
        click.echo(f"{click.style(hosts, bold=True)} would change:", err=err)
    for line in (*_changes(host_plan), *_runs(host_plan)):
        click.echo(_wrapped(f"  {line}", sys.stderr if err else sys.stdout), err=err)
    for words in host_plan.unreadable:
        click.echo(f"  could not be read: {words}", err=err)
    if not host_plan.is_empty:
        reboot = f"yes, because {host_plan.reboot}" if host_plan.reboot else "no"
        click.echo(f"  {'reboot':<{LABEL_WIDTH}} {reboot}", err=err)
    _show_blockers(hosts, host_plan, err=err)


def _changes(host_plan: HostPlan) -> Iterator[str]:
    """A line for what is done to one or several things alike; each component named once."""
    label = ""
    alike = groupby(host_plan.changes, lambda c: (c.component, c.action, c.transition, c.note))
    for (component, action, transition, note), found in alike:
        subjects = _listed([change.subject for change in found])
        shown = component if component != label else ""
        label = component
        what = " ".join(filter(None, (transition, note and f"({note})")))
        line = f"{shown:<{LABEL_WIDTH}} {action:<{ACTION_WIDTH}} {subjects}"
        yield f"{line}  {what}" if what else line


def _wrapped(line: str, stream: TextIO) -> str:
    """The line, on a terminal broken to its width with what follows below what was done."""
    if not stream.isatty():
        return line
    return textwrap.fill(
        line,
        max(shutil.get_terminal_size().columns, LEAST_WIDTH),
        subsequent_indent=" " * (2 + LABEL_WIDTH + 1 + ACTION_WIDTH + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _listed(subjects: Sequence[str]) -> str:
    if len(subjects) <= SHOWN_SUBJECTS:
        return ", ".join(subjects)
    few = SHOWN_SUBJECTS - 2
    return f"{', '.join(subjects[:few])} and {len(subjects) - few} more"


def _runs(host_plan: HostPlan) -> Iterator[str]:
    """The roles that run only to look for themselves, with the reason where it is special."""
    changing = {change.component for change in host_plan.changes}
    labels = {component.role: component.label for component in COMPONENTS}
    why: dict[str, list[str]] = {}
    for run in host_plan.runs:
        if labels[run.role] not in changing:
            reason = "" if changing and run.is_usual else f"because {run.why}"
            why.setdefault(reason, []).append(labels[run.role])
    for reason, names in why.items():
        verb = "looks for itself" if len(names) == 1 else "look for themselves"
        yield f"{', '.join(names):<{LABEL_WIDTH}} {verb}{f', {reason}' if reason else ''}"


def _show_blockers(hosts: str, host_plan: HostPlan, *, err: bool) -> None:
    if not host_plan.blockers:
        return
    count = len(host_plan.blockers)
    things = "one thing stands" if count == 1 else f"{count} things stand"
    stops = f"{hosts}: provisioning would stop before it changes anything, because {things}"
    click.echo(f"{click.style(stops, fg='red')} against it:", err=err)
    for blocker in host_plan.blockers:
        click.echo(f"  {blocker.name}: {blocker.found}", err=err)
        click.echo(f"    why     {blocker.why}", err=err)
        click.echo(f"    remedy  {blocker.remedy}", err=err)
        if blocker.override:
            click.echo(f"    or set  {blocker.override}", err=err)


def _print_plans_json(planned: Planned) -> None:
    document = {
        "schema_version": 1,
        "hosts": [
            asdict(host_plan)
            | {
                "changes": [asdict(change) | {"what": change.what} for change in host_plan.changes],
                "busy": list(planned.busy.get(host_plan.host, ())),
            }
            for host_plan in planned.plans.values()
        ],
        "drained": [{"host": r.host, "reason": r.skipped} for r in planned.drained.values()],
        "failures": [
            {"host": f.host, "error": f.error, "remedy": f.error_remedy}
            for f in planned.failures.values()
        ],
    }
    click.echo(json.dumps(document, indent=2))
