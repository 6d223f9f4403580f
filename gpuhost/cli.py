"""The command line: the commands together, and the only place that exits.

Heavy imports stay inside the commands, so that ``gpuhost --help`` is quick.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import traceback
from types import FrameType

import click

from gpuhost import __version__
from gpuhost.commands.checks import checks
from gpuhost.commands.common import InOrder
from gpuhost.commands.completion import completion
from gpuhost.commands.docker import docker
from gpuhost.commands.history import diff, history, status
from gpuhost.commands.hosts import hosts
from gpuhost.commands.images import images
from gpuhost.commands.lab import lab
from gpuhost.commands.mirror import mirror
from gpuhost.commands.nightly import nightly
from gpuhost.commands.onboard import onboard
from gpuhost.commands.plan import plan
from gpuhost.commands.provision import provision
from gpuhost.commands.remove import remove
from gpuhost.commands.rollback import rollback
from gpuhost.commands.verify import verify
from gpuhost.commands.workload import workload
from gpuhost.errors import ExitCode, GpuhostError

EPILOG = """\b
Exit codes:
  0  all passed                    4  playbook or set-up error
  1  a host or check failed        5  a bug in gpuhost
  2  usage, configuration,       130  interrupted
     inventory                   143  terminated
  3  unreachable or UNKNOWN
"""

# In the order in which a person meets them.
COMMANDS = (
    onboard,
    plan,
    provision,
    verify,
    workload,
    docker,
    images,
    rollback,
    remove,
    checks,
    hosts,
    nightly,
    status,
    diff,
    history,
    mirror,
    lab,
    completion,
)


# Commands that find what a run left unfinished, and finish it.
GO_ON = ("provision", "rollback", "remove", "onboard")
# Why a file or folder of this machine cannot be used, where that is no fault of gpuhost's.
OF_THIS_MACHINE = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


@click.group(
    cls=InOrder,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gpuhost")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Take bare Linux servers to GPU container hosts that are proven to work.

    \b
    Start here:
      gpuhost plan lab-01          what would change, before anything does
      gpuhost provision lab-01     driver, docker, toolkit, users; then verify
      gpuhost verify lab-01        prove that containers get the GPUs they ask for
      gpuhost lab up               a rehearsal host on this machine, no GPU needed
    """
    context.obj = {"debug": debug}


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Entry point: run the command and turn whatever comes of it into an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(int(run(sys.argv[1:])))


def run(arguments: list[str]) -> ExitCode:
    """Run one command line; returns its exit code, with the error explained on stderr."""
    debug = "--debug" in arguments
    try:
        return ExitCode(cli.main(arguments, prog_name="gpuhost", standalone_mode=False) or 0)
    except GpuhostError as error:
        return _explain(error, debug)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        _say_cut_short("Interrupted", arguments)
        return ExitCode.INTERRUPTED
    except Terminated:
        _say_cut_short("Terminated", arguments)
        return ExitCode.TERMINATED
    except BrokenPipeError:
        _drop_output()
        return ExitCode.FAILED
    except OSError as error:
        if error.errno not in OF_THIS_MACHINE:
            return _report_bug(error, debug)
        if error.filename is None:
            _drop_output()
        return _explain(_of_this_machine(error), debug)
    except Exception as error:  # noqa: BLE001  (the last resort: a bug, reported as one)
        return _report_bug(error, debug)


def _drop_output() -> None:
    """Let go of what could not be written: Python would try again at exit, and end with 120."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


def _say_cut_short(what: str, arguments: list[str]) -> None:
    click.echo(f"{what}. What had begun on a host may still be running there.", err=True)
    if arguments and arguments[0] in GO_ON:
        again = shlex.join(["gpuhost", *arguments])
        click.echo(f"  The same command goes on from there: {again}", err=True)


def _explain(error: GpuhostError, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exc()
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.message}", err=True)
    if error.remedy:
        click.echo(f"  {error.remedy}", err=True)
    return error.exit_code


def _of_this_machine(error: OSError) -> GpuhostError:
    """A file or folder that cannot be used, which is nothing that gpuhost can mend."""
    if error.filename is None:
        return GpuhostError(f"Output could not be written: {error.strerror}.", "See: df -h")
    return GpuhostError(
        f"{error.filename} on this machine: {error.strerror}.",
        "Name another place, or make it one that can be read and written.",
    )


def _report_bug(error: Exception, debug: bool) -> ExitCode:
    if debug:
        traceback.print_exc()
    click.echo(f"gpuhost has a bug: {type(error).__name__}: {error}", err=True)
    click.echo("  Please report it with the output of the same command under --debug.", err=True)
    return ExitCode.BUG


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt, not to be caught on the way."""


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
