"""Making faults in a running lab host, remembering which, and mending them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gpuhost.lab.faults.registry import Fault, find

# In the host itself, so that it goes with the host.
MADE = "/etc/gpuhost-lab/faults"

Execute = Callable[[str, Sequence[str]], str]
"""Runs a command as root in the host of a name and gives its output; raises where it fails."""


def inject(execute: Execute, host: str, fault: Fault) -> None:
    """Make a fault, and remember that it was made."""
    # First the note: a fault that is half made has to be mended, too.
    _shell(execute, host, f"grep -qsxF {fault.name} {MADE} || echo {fault.name} >>{MADE}")
    _shell(execute, host, fault.make)


def clear(execute: Execute, host: str, fault: Fault) -> None:
    """Mend a fault; harmless where it was not made."""
    _shell(execute, host, fault.mend)
    _shell(execute, host, f"if [ -e {MADE} ]; then sed -i '/^{fault.name}$/d' {MADE}; fi")


def made(execute: Execute, host: str) -> tuple[Fault, ...]:
    """The faults that a host has, the latest first: that is the order to mend them in."""
    names = _shell(execute, host, f"cat {MADE} 2>/dev/null || true").split()
    return tuple(find(name) for name in reversed(names))


@contextmanager
def injected(execute: Execute, host: str, fault: Fault) -> Iterator[None]:
    """A fault for as long as the block runs."""
    try:
        inject(execute, host, fault)
        yield
    finally:
        clear(execute, host, fault)


def _shell(execute: Execute, host: str, script: str) -> str:
    return execute(host, ["sh", "-c", script])
