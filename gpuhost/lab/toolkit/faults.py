"""Makes the toolkit of a lab host misbehave, for drills and tests.

==================  =================================================================
leak-one            a container that asks for some GPUs gets one more
swap                a container that asks for a GPU gets the next one in its place
ignore-none         NVIDIA_VISIBLE_DEVICES=none gets every GPU
all-for-bad-index   an index that does not exist gets every GPU instead of a refusal
stale-cdi           the CDI specification is that of an earlier driver, without the last GPU
==================  =================================================================

They show on every request path. Where dockerd reads the CDI specification itself, the
specification is wrong: ignore-none can't show there, because to ask for no GPU by CDI is not to
ask. stale-cdi shows only where the specification is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpuhost.errors import LabError
from gpuhost.lab.toolkit.standin import fault
from gpuhost.suggest import did_you_mean

NAMES = (
    fault.LEAK_ONE,
    fault.SWAP,
    fault.IGNORE_NONE,
    fault.ALL_FOR_BAD_INDEX,
    fault.STALE_CDI,
)

# Without reset-failed, systemd refuses the sixth start within ten seconds.
_UNIT = "nvidia-cdi-refresh.service"
_REFRESH = f"systemctl reset-failed {_UNIT} && systemctl restart {_UNIT}"

Execute = Callable[[str, Sequence[str]], object]


@dataclass(frozen=True)
class Misbehaviour:
    """One way to misbehave, by its name.

    ``execute(host, argv)`` runs a command as root in a host and raises when it fails.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise LabError(
                f"The toolkit has no misbehaviour {self.name!r}.{did_you_mean(self.name, NAMES)}",
                f"There are: {', '.join(NAMES)}.",
            )

    def inject(self, execute: Execute, host: str) -> None:
        """Switch it on; a host has one at a time."""
        switch = json.dumps({"misbehave": self.name})
        write = 'mkdir -p "${1%/*}" && printf %s "$2" >"$1"'
        execute(host, ["sh", "-c", f"{write} && {_REFRESH}", "sh", str(fault.SWITCH), switch])

    def clear(self, execute: Execute, host: str) -> None:
        """Switch it off and make the CDI specification right again."""
        execute(host, ["sh", "-c", f'rm -f "$1" && {_REFRESH}', "sh", str(fault.SWITCH)])
