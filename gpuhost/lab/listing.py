"""Which lab hosts there are, and how to reach them."""

from __future__ import annotations

from dataclasses import dataclass

from gpuhost.lab import host, inside, inventory_file, settings
from gpuhost.lab.base import OPERATOR
from gpuhost.lab.state import HostRecord, Store


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


def onboard_options(record: HostRecord) -> str:
    """How a host that no inventory lists is onboarded into the lab's."""
    return (
        f"--address {record.address} --user {OPERATOR} --ask-password "
        f"--install-key ~/.ssh/id_ed25519.pub --group lab_{record.release} "
        f"-i {inventory_file.FOLDER}"
    )


def ssh_argv(name: str) -> list[str]:
    """The command that logs in to a host as its operator; a remote command may be appended.

    Raises LabError where the lab has no such host.
    """
    return host.ssh(settings.load().state, inside.recorded(name))
