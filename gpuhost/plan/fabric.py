"""What the NVSwitches need: their manager, at exactly the driver's version."""

from __future__ import annotations

from collections.abc import Iterator

from gpuhost.checks.board import UNIT, fabric_manager_package
from gpuhost.parse.pci import is_nvswitch
from gpuhost.parse.versions import same
from gpuhost.plan.driver import changes_packages
from gpuhost.plan.host import Host, unit
from gpuhost.plan.model import Change

LABEL = "fabric"
MANAGER = "the fabric manager"


def manager(host: Host) -> Iterator[Change]:
    """The fabric manager, where there are switches."""
    if not any(is_nvswitch(each["class_code"]) for each in host.facts.pci["devices"]):
        return
    driver = host.facts.driver
    version = "" if changes_packages(host) else driver["on_disk_version"] or ""
    found = fabric_manager_package(driver)
    wanted = version or "the driver's version"
    if found is None:
        yield Change(LABEL, "install", MANAGER, after=wanted)
    elif not version or not same(version, found["version"]):
        yield Change(LABEL, "change", MANAGER, found["version"], wanted)
    if found is None or not found["held"]:
        yield Change(LABEL, "hold", MANAGER)
    yield from service(host)


def service(host: Host) -> Iterator[Change]:
    """Its unit, enabled and running."""
    found = unit(host.facts.driver["units"], UNIT)
    if found and found["enabled_state"] == "disabled":
        yield Change(LABEL, "enable", UNIT)
    if found is None or found["active_state"] != "active":
        yield Change(LABEL, "start", UNIT)
