"""Which lab hosts there are, and how to reach them."""

from __future__ import annotations

from dataclasses import dataclass

from gpuhost.lab import host, inside, settings
from gpuhost.lab.state import Store


@dataclass(frozen=True)
class LabHost:
    """One lab host as it is now; ``state`` is running or off."""

    name: str
    address: str
    os: str
    gpus: int
    model: str
    state: str


def list_hosts() -> tuple[LabHost, ...]:
    """All lab hosts, by name."""
    return tuple(
        LabHost(
            name=record.name,
            address=record.address,
            os=record.release,
            gpus=record.gpus,
            model=record.model,
            state="running" if host.is_running(record) else "off",
        )
        for record in Store(settings.load().state).hosts()
    )


def ssh_argv(name: str) -> list[str]:
    """The command that logs in to a host as its operator; a remote command may be appended.

    Raises LabError where the lab has no such host.
    """
    return host.ssh(settings.load().state, inside.recorded(name))
