"""What every section is given."""

from __future__ import annotations

from dataclasses import dataclass

from gpuhost.probe.root import Root
from gpuhost.probe.run import Run, runner
from gpuhost.probe.schema import Spec


@dataclass(frozen=True)
class Context:
    """The host as a section may reach it, and what was asked of the probe."""

    spec: Spec
    root: Root
    run: Run

    @classmethod
    def of_this_host(cls, spec: Spec) -> Context:
        """The context in which the probe really runs."""
        return cls(spec=spec, root=Root(), run=runner(spec["command_timeout_s"]))
