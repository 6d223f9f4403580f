"""Where the lab keeps things and which addresses it uses: ``GPUHOST_LAB_*`` or the default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from gpuhost.errors import UsageError

DEFAULT_CACHE = "/var/cache/gpuhost-lab"
DEFAULT_STATE = "/var/lib/gpuhost-lab"
# RFC 2544 set this range aside for tests of network gear: no LAN uses it.
DEFAULT_SUBNET = "198.18.0.0/24"
PREFIX_LENGTH = 24


@dataclass(frozen=True)
class LabSettings:
    """Folders and subnet of one lab.

    ``cache`` holds what can be built again, ``state`` what runs. Labs with
    different ``state`` and ``subnet`` live side by side on one machine.
    """

    cache: Path
    state: Path
    subnet: IPv4Network

    @property
    def bridge(self) -> str:
        """Name of the lab's bridge: gpuhost0 for 198.18.0.0/24."""
        return f"gpuhost{self._third_octet}"

    @property
    def address(self) -> str:
        """The bridge's own address, where the mirror and the registry answer."""
        return str(self.subnet[1])

    def machine(self, address: str) -> str:
        """The nspawn machine name of a host: unique on this machine, and short.

        The host's network link carries it, and those have 15 characters at most.
        """
        return f"lab{self._third_octet}-{address.rpartition('.')[2]}"

    @property
    def _third_octet(self) -> int:
        return self.subnet.network_address.packed[2]


def load(environ: Mapping[str, str] | None = None) -> LabSettings:
    """Settings from ``GPUHOST_LAB_CACHE``, ``GPUHOST_LAB_STATE`` and ``GPUHOST_LAB_SUBNET``."""
    environ = os.environ if environ is None else environ
    return LabSettings(
        cache=Path(environ.get("GPUHOST_LAB_CACHE") or DEFAULT_CACHE).absolute(),
        state=Path(environ.get("GPUHOST_LAB_STATE") or DEFAULT_STATE).absolute(),
        subnet=_subnet(environ.get("GPUHOST_LAB_SUBNET") or DEFAULT_SUBNET),
    )


def _subnet(text: str) -> IPv4Network:
    try:
        subnet = IPv4Network(text)
    except ValueError as error:
        raise UsageError(
            f"GPUHOST_LAB_SUBNET is not an IPv4 network: {error}",
            f"Give one like {DEFAULT_SUBNET}.",
        ) from error
    if subnet.prefixlen != PREFIX_LENGTH:
        raise UsageError(
            f"GPUHOST_LAB_SUBNET must be a /{PREFIX_LENGTH}, not {text}.",
            f"Give one like {DEFAULT_SUBNET}.",
        )
    return subnet
