"""Tools of a lab host: the real ones, except for what is played."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from .commands import changing_state
from .hardware import KernelError, State, is_ours, read_state
from .log import dmesg, journalctl, timedatectl
from .modules import KMOD, load, unload

# Options that ask and change nothing: the real modprobe answers them.
QUESTIONS = re.compile(r"--(show|dry|resolve|version|help|dump|show-).*|-[^-]*[cDnRVh].*")


def become(tool: str, arguments: Sequence[str]) -> NoReturn:
    """Leave the rest to the real tool."""
    os.execv(KMOD, [tool, *arguments])  # noqa: S606 - nothing of this program is left to do


def modprobe(arguments: Sequence[str]) -> None:
    """Load, or with -r unload, modules of ours; anything else is the real modprobe's."""
    options = [word for word in arguments if word.startswith("-")]
    names = [word.replace("-", "_") for word in arguments if not word.startswith("-")]
    if not names or not is_ours(names[0]) or any(map(QUESTIONS.fullmatch, options)):
        become("modprobe", arguments)
    several = any(re.fullmatch(r"--all|--remove|-[^-]*[ar].*", option) for option in options)
    removing = any(re.fullmatch(r"--remove|-[^-]*r.*", option) for option in options)
    require_root("modprobe", "remove" if removing else "insert", names[0])
    with changing_state() as state:
        for name in names if several else names[:1]:
            if not removing:
                load(state, name)
            elif name in state.modules:
                unload_with_dependencies(state, name)


def unload_with_dependencies(state: State, name: str) -> None:
    """Unload a module, then what it depended on and nothing uses any more."""
    depends = state.modules[name].depends
    unload(state, name, "modprobe")
    for dependency in depends:
        if dependency in state.modules:
            with contextlib.suppress(KernelError):
                unload_with_dependencies(state, dependency)


def rmmod(arguments: Sequence[str]) -> None:
    """Unload modules of ours; anything else is the real rmmod's."""
    names = [word.replace("-", "_") for word in arguments if not word.startswith("-")]
    if not any(map(is_ours, names)):
        become("rmmod", arguments)
    require_root("rmmod", "remove", names[0])
    with changing_state() as state:
        for name in names:
            if name not in state.modules:
                raise KernelError(f"rmmod: ERROR: Module {name} is not currently loaded")
            unload(state, name, "rmmod")


def require_root(tool: str, verb: str, name: str) -> None:
    """KernelError in the tool's words for everyone but root."""
    if os.geteuid() != 0:
        raise KernelError(f"{tool}: ERROR: could not {verb} '{name}': Operation not permitted")


def lsmod(_arguments: Sequence[str]) -> None:
    """List modules of ours; what the machine's kernel has loaded is not this host's."""
    modules = read_state().modules
    sys.stdout.write(f"{'Module':<19} {'Size':>8}  Used by\n")
    for name in modules:
        users = [other for other, module in modules.items() if name in module.depends]
        sys.stdout.write(f"{name:<19} {65536:>8}  {len(users)} {','.join(users)}\n")


TOOLS: dict[str, Callable[[Sequence[str]], None]] = {
    "modprobe": modprobe,
    "rmmod": rmmod,
    "lsmod": lsmod,
    "journalctl": journalctl,
    "dmesg": dmesg,
    "timedatectl": timedatectl,
}
