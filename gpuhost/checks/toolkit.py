"""NVIDIA's container toolkit: its packages and its hook."""

from __future__ import annotations

from gpuhost.checks.facts import Facts
from gpuhost.checks.finding import Finding, failed, passed
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import PROVISION, RESTART_DOCKER
from gpuhost.checks.words import listed
from gpuhost.parse.versions import numbers, same

PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# Before it, a container could take over the host (CVE-2025-23266).
SECURITY_FLOOR = "1.17.8"


@check("toolkit.present", "NVIDIA's container toolkit is installed", needs=("toolkit",))
def present(facts: Facts) -> Finding:
    """Without the toolkit docker starts containers, and none of them can be given a GPU.

    Provision the host: gpuhost provision installs the toolkit and registers it with docker.
    """
    toolkit = facts.toolkit
    names = [p["name"] for p in toolkit["packages"] if p["name"] in PACKAGES]
    if names:
        return passed(f"{len(names)} of its {len(PACKAGES)} packages")
    if toolkit["hook_path"] or toolkit["ctk_version"]:
        return passed("its programs are there, though no package of it is")
    return failed(
        "nvidia-container-toolkit is not installed",
        seen="no package of it, no nvidia-ctk and no hook",
        expected=f"nvidia-container-toolkit {facts.desired.toolkit_version or ''}".strip(),
        cause="the host was not provisioned yet, or the toolkit was removed",
        remedy=PROVISION,
    )


@check("toolkit.installed", "The toolkit's four packages are one version", needs=("toolkit",))
def installed(facts: Facts) -> Finding:
    """They belong together to the digit, and before 1.17.8 a container can take over the host.

    Install all four packages at one version, 1.17.8 or later; gpuhost provision does it.
    """
    found = {p["name"]: p["version"] for p in facts.toolkit["packages"] if p["name"] in PACKAGES}
    declared = facts.desired.toolkit_version
    seen = listed(f"{name} {found.get(name, 'not installed')}" for name in PACKAGES)
    expected = f"all four at {declared or f'one version, {SECURITY_FLOOR} or later'}"
    if len(found) < len(PACKAGES):
        summary, cause = "packages are missing", "the toolkit is not installed completely"
    elif len(set(found.values())) > 1:
        summary, cause = "packages of different versions", "one of them is held or was upgraded"
    elif declared and not same(declared, found[PACKAGES[0]]):
        summary = f"{found[PACKAGES[0]]} is not the declared version"
        cause = "it was changed by something else, or the declaration is newer than the host"
    elif numbers(found[PACKAGES[0]]) < numbers(SECURITY_FLOOR):
        summary = f"{found[PACKAGES[0]]} lets a container take over the host (CVE-2025-23266)"
        cause = "the toolkit is too old"
    else:
        return passed(f"{found[PACKAGES[0]]}, all four packages")
    return failed(summary, seen=seen, expected=expected, cause=cause, remedy=PROVISION)


@check("toolkit.hook", "dockerd finds the toolkit's hook", needs=("toolkit",))
def hook(facts: Facts) -> Finding:
    """`docker run --gpus` looks for it in dockerd's own PATH, once, when the daemon starts.

    Install nvidia-container-toolkit where it is missing, then restart docker: the daemon looks
    only once.
    """
    path = facts.toolkit["hook_path"]
    if path:
        return passed(path)
    return failed(
        "nvidia-container-runtime-hook is not in dockerd's PATH",
        seen="no such program",
        expected="/usr/bin/nvidia-container-runtime-hook",
        cause="nvidia-container-toolkit is not installed, or not completely",
        remedy=f"apt-get install --reinstall nvidia-container-toolkit && {RESTART_DOCKER}",
    )
