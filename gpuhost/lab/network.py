"""The lab's network: one bridge with an address, which hosts and servers share.

It leads nowhere: hosts have no route out of the lab, so that a role that
quietly reaches for the internet fails here as it would behind a firewall.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab import cgroups, holdings
from gpuhost.lab.commands import run
from gpuhost.lab.settings import PREFIX_LENGTH, LabSettings
from gpuhost.lab.state import Holdings, Store, boot_id

FILTERED_CHAINS = ("INPUT", "FORWARD")


def ensure(settings: LabSettings, store: Store) -> None:
    """Make the bridge and let its traffic pass this machine's packet filter; both are recorded.

    Raises LabError where something else has the name or the subnet.
    """
    bridge = settings.bridge
    record = store.lab()
    ours = bridge in record.holdings.links and record.holdings.boot_id == boot_id()
    if not ours:
        _refuse_foreign(settings)
    rules = tuple(
        (chain, "-i", bridge, "-j", "ACCEPT") for chain in FILTERED_CHAINS if is_filtered(chain)
    )
    known = record.holdings.rules if ours else ()
    held = Holdings(
        boot_id=boot_id(),
        cgroups=cgroups.everywhere(bridge),
        links=(bridge,),
        rules=tuple(dict.fromkeys((*known, *rules))),
    )
    store.keep_lab(replace(record, holdings=held))
    _make_bridge(settings)
    for rule in rules:
        if not holdings.has_rule(rule):
            run(["iptables", "--wait", "-I", *rule], purpose="Letting the lab's traffic pass")


def _refuse_foreign(settings: LabSettings) -> None:
    remedy = "Choose another subnet, e.g. GPUHOST_LAB_SUBNET=198.18.77.0/24"
    if _link(settings.bridge).exists():
        raise LabError(
            f"This machine has a network link {settings.bridge} that this lab did not make.", remedy
        )
    routes = run(
        ["ip", "-4", "route", "show", "to", "root", str(settings.subnet)],
        purpose="Reading this machine's routes",
    )
    if routes.strip():
        raise LabError(
            f"{settings.subnet} is in use on this machine: {routes.strip().splitlines()[0]}", remedy
        )


def _make_bridge(settings: LabSettings) -> None:
    purpose = f"Making the bridge {settings.bridge}"
    if not _link(settings.bridge).exists():
        run(["ip", "link", "add", "name", settings.bridge, "type", "bridge"], purpose=purpose)
    address = f"{settings.address}/{PREFIX_LENGTH}"
    run(["ip", "address", "replace", address, "dev", settings.bridge], purpose=purpose)
    run(["ip", "link", "set", settings.bridge, "up"], purpose=purpose)


def is_filtered(chain: str) -> bool:
    """Whether this machine's packet filter holds anything back in a chain.

    Docker and firewalls on the machine do; bridged traffic then passes the
    same chains.
    """
    listing = subprocess.run(
        ["iptables", "--wait", "-S", chain], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip() != f"-P {chain} ACCEPT"


def _link(name: str) -> Path:
    return holdings.LINKS / name
