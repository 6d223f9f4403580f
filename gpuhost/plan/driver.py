"""What only the driver needs: foreign drivers, the initramfs, the kernel modules, a reboot."""

from __future__ import annotations

from collections.abc import Iterator

from gpuhost.plan.host import Host, unit
from gpuhost.plan.model import Change

LABEL = "driver"
ROLE = "nvidia_driver"
MODULE = "nvidia-driver"
PERSISTENCED = "nvidia-persistenced.service"
DROP_IN = "/etc/systemd/system/nvidia-persistenced.service.d/gpuhost.conf"
WITHOUT_PERSISTENCE = " --no-persistence-mode"
BLACKLIST = "/etc/modprobe.d/gpuhost-nouveau.conf"


def first(host: Host) -> Iterator[Change]:
    """What is mended and removed before anything is installed."""
    state = host.state
    if state["packages_interrupted"]:
        yield Change(LABEL, "finish", "package operations that were interrupted")
    for name in state["distribution_driver"]:
        yield Change(LABEL, "remove", name, note="it is the distribution's driver")
    if state["runfile_driver"]:
        yield Change(LABEL, "uninstall", "the driver of NVIDIA's .run installer")
    stream, enabled = host.declared(ROLE).stream, host.streams.get(MODULE, "")
    if stream and stream != enabled:
        yield Change(LABEL, "enable", f"a stream of dnf's module {MODULE}", enabled, stream)


def last(host: Host) -> Iterator[Change]:
    """What follows from the packages and files."""
    state, declared = host.state, host.declared(ROLE)
    content = declared.files.get(BLACKLIST)
    if content is not None and not host.has_file(BLACKLIST, content) and state["initramfs_tool"]:
        yield Change(LABEL, "rebuild", "the initramfs")
    if state["loaded_version"] is None and not state["nouveau_loaded"]:
        yield Change(LABEL, "load", "the driver's kernel modules")
    elif replacement(host):
        yield Change(LABEL, "reload", "the driver's kernel modules", note=replacement(host))
    drop_in = list(_drop_in(host))
    yield from drop_in
    if not changes_packages(host):
        yield from _persistenced(host, restarted=bool(drop_in))


def _drop_in(host: Host) -> Iterator[Change]:
    """What has Ubuntu's nvidia-persistenced keep the driver initialized, as other systems' do."""
    if host.facts.system["os_id"] != "ubuntu":
        return
    text = host.persistenced_unit
    if text is None:
        if DROP_IN not in host.files:
            note = "where the package's unit starts without persistence mode"
            yield Change(LABEL, "write", DROP_IN, note=note)
        return
    start = next((line for line in text.splitlines() if line.startswith("ExecStart=")), "")
    if WITHOUT_PERSISTENCE not in start:
        return
    content = f"[Service]\nExecStart=\n{start.replace(WITHOUT_PERSISTENCE, '')}\n"
    diff = host.diff(DROP_IN, content)
    if DROP_IN not in host.files:
        yield Change(LABEL, "write", DROP_IN, diff=diff)
    elif not host.has_file(DROP_IN, content):
        note = "it is not as it was written"
        yield Change(LABEL, "rewrite", DROP_IN, note=note, diff=diff)


def _persistenced(host: Host, *, restarted: bool) -> Iterator[Change]:
    found = unit(host.facts.driver["units"], PERSISTENCED)
    if found and found["enabled_state"] == "disabled":
        yield Change(LABEL, "enable", PERSISTENCED)
    if found and restarted:
        yield Change(LABEL, "restart", PERSISTENCED, note="its drop-in changes")
    elif found and found["active_state"] != "active":
        yield Change(LABEL, "start", PERSISTENCED)


def changes_packages(host: Host) -> bool:
    """Whether another driver than the present one would be installed."""
    return not host.declarations.driver_is_wanted


def replacement(host: Host) -> str:
    """Why the loaded driver has to be replaced; empty if it has not, or none is loaded."""
    state = host.state
    loaded, on_disk = state["loaded_version"], state["on_disk_version"]
    if loaded is None:
        return ""
    if changes_packages(host):
        return f"the loaded driver is {loaded}"
    if loaded != on_disk:
        return f"the loaded driver is {loaded}, on disk is {on_disk}"
    if state["loaded_modules"] not in (None, state["on_disk_modules"]):
        return f"the loaded modules are {state['loaded_modules']}"
    return ""


def reboot(host: Host) -> str:
    """Why the host would have to be rebooted; empty if it would not."""
    why = _reason_to_reboot(host)
    if why and not host.declared(ROLE).may_reboot:
        return f"{why}; nvidia_driver_reboot is false, so provisioning would stop there"
    return why


def _reason_to_reboot(host: Host) -> str:
    state, why = host.state, replacement(host)
    if state["loaded_version"] is None and state["nouveau_loaded"]:
        return "nouveau is loaded and has to make room for the NVIDIA driver"
    if why and state["gpu_users"]:
        return f"{why}, and GPUs are in use by {', '.join(state['gpu_users'])}"
    return f"{why}, if it cannot be reloaded" if why else ""
