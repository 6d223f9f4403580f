"""Every failure text that is known, with what causes it and what mends it.

The first entry whose pattern occurs in a text speaks for it, so the special
come before the general. A text that no entry knows is never hidden: the
check shows it whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpuhost.checks.remedies import (
    REBOOT,
    REFRESH_CDI,
    REGISTER_RUNTIME,
    RESTART_DOCKER,
    START_DOCKER,
)
from gpuhost.model import UNKNOWN_CAUSE


@dataclass(frozen=True)
class Failure:
    """One known failure: the words that give it away, its cause and its remedy."""

    pattern: re.Pattern[str]
    cause: str
    remedy: str


def _known(pattern: str, cause: str, remedy: str) -> Failure:
    return Failure(re.compile(pattern, re.IGNORECASE | re.DOTALL), cause, remedy)


# First, because every layer above speaks of its own failure, too.
_LOST = (
    _known(
        r"GPU is lost|GPU has fallen off the bus|GpuIsLost",
        "a GPU has fallen off the PCI bus",
        f"{REBOOT}  # if it comes back: power-cycle, reseat, then call support",
    ),
)

_CONTAINER_REQUESTS = (
    _known(
        r'could not select device driver "" with capabilities: \[\[gpu\]\]',
        "dockerd found no nvidia-container-runtime-hook in its PATH when it started, so --gpus "
        "has nobody to serve it",
        f"Install nvidia-container-toolkit if it is missing, then: {RESTART_DOCKER}",
    ),
    _known(
        r"failed to discover GPU vendor from CDI|no known GPU vendor found|AMD CDI spec not found",
        "dockerd found neither a CDI specification of a GPU nor nvidia-container-runtime-hook "
        "when it started",
        f"Install nvidia-container-toolkit if it is missing, then: {REFRESH_CDI} && "
        f"{RESTART_DOCKER}",
    ),
    _known(
        r'could not select device driver "cdi" with capabilities: \[\]',
        "CDI is off in this dockerd (before 28.2 it has to be asked for)",
        "Set docker_ce_daemon_config: {features: {cdi: true}} and provision the host, or set "
        f'"features": {{"cdi": true}} in /etc/docker/daemon.json and: {RESTART_DOCKER}',
    ),
    _known(
        r"unresolvable CDI devices? runtime\.nvidia\.com/gpu",
        "the runtime could not generate a CDI specification on the spot: the driver does not "
        "answer (toolkit before 1.18.2 hides the real error)",
        "nvidia-smi -L  # mend the driver first; update the toolkit to 1.18.2 or later",
    ),
    _known(
        r"unresolvable CDI devices?",
        "the CDI specification is missing or stale, or the request names a device that does not "
        "exist",
        REFRESH_CDI,
    ),
    _known(
        r"unknown or invalid runtime name: nvidia|unknown runtime specified nvidia",
        "the nvidia runtime is not registered in the running dockerd",
        REGISTER_RUNTIME,
    ),
    _known(
        r"is not an absolute path",
        "this Engine does not know CDI device names (that takes 25.0 or later)",
        "Update docker-ce to 28.2 or later.",
    ),
    _known(
        r"cannot set both Count and DeviceIDs",
        "the request sets both a number of GPUs and their ids",
        "Ask for either a count or ids, not both.",
    ),
    _known(
        r"invoking the NVIDIA Container Runtime Hook directly",
        "the toolkit's mode is forced to one that --gpus cannot be served in",
        "nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto",
    ),
    _known(
        r"nvidia-smi: (command )?not found|exec: .?nvidia-smi.?: executable file not found",
        "the container was given no driver: nobody served the request, or "
        "NVIDIA_DRIVER_CAPABILITIES lacks utility",
        f"{REGISTER_RUNTIME}; {REFRESH_CDI}",
    ),
    _known(
        r"failed to get device handle from (index|uuid)|unknown device|"
        r"failed to construct device spec generators",
        "the request names a GPU that does not exist on this host",
        "nvidia-smi -L  # shows the indices and UUIDs that exist",
    ),
)

_DRIVER = (
    _known(
        r"Driver/library version mismatch|lib\w*/?RM version mismatch|NVML/RM version mismatch|"
        r"LibRmVersionMismatch",
        "the driver's packages were upgraded while the old kernel module stayed loaded",
        f"{REBOOT}  # or reload the module; afterwards: {REFRESH_CDI}",
    ),
    _known(
        r"Failed to initialize NVML: Unknown Error",
        "the container lost access to its GPU devices, as it happens to hook-injected ones after "
        "systemctl daemon-reload; on the host: /dev/nvidiactl cannot be opened",
        "Request GPUs through CDI (or use the cgroupfs driver), and recreate the container.",
    ),
    _known(
        r"Failed to initialize NVML: Insufficient Permissions",
        "SELinux or the nodes' permissions keep the process from the GPU devices",
        "Install a policy for the devices, or run with --security-opt=label=disable",
    ),
    _known(
        r"load library failed: libnvidia-ml\.so",
        "the driver's user-space libraries are not where the toolkit looks: not installed, or "
        "docker is a snap or runs rootless",
        "Install the driver's libraries (libnvidia-ml1), and use docker-ce.",
    ),
    _known(
        r"nvml error: driver not loaded|Driver Not Loaded|"
        r"couldn't communicate with the NVIDIA driver",
        "the nvidia kernel module is not loaded",
        "modprobe nvidia && nvidia-smi -L  # if that fails: dmesg | grep -i nvidia",
    ),
    _known(
        r"ERROR_LIBRARY_NOT_FOUND|NVML Shared Library Not Found|LibraryNotFound|"
        r"couldn't find libnvidia-ml\.so|libnvidia-ml\.so\.1: cannot open",
        "libnvidia-ml.so.1 is not there: the driver's user-space libraries are not installed",
        "Provision the host, or install the driver's libraries (libnvidia-ml1).",
    ),
    _known(
        r"Mismatch in versions between nvidia-smi and NVML",
        "nvidia-smi and libnvidia-ml come from different driver versions",
        "Install every driver package at one version; look with: dpkg -l '*nvidia*'",
    ),
    _known(
        r"GPU requires (reset|restart)|ResetRequired",
        "a GPU has to be reset before it can be used again",
        "nvidia-smi --gpu-reset -i <index>  # stop what uses it first",
    ),
    _known(
        r"infoROM is corrupted|Corrupted infoROM",
        "the memory in which the card keeps its settings and error counts is damaged",
        f"{REBOOT}  # power-cycle; if it stays: nvidia-bug-report.sh and call support",
    ),
    _known(
        r"Insufficient External Power|power cable",
        "a GPU gets no power from its cable",
        "Switch the host off and connect the GPU's power cables.",
    ),
    _known(
        r"GPU access blocked by the operating system",
        "the operating system keeps the process from the GPU: a device cgroup or a security module",
        "dmesg | grep -iE 'denied|nvrm'  # look at AppArmor, SELinux and cgroup rules",
    ),
    _known(
        r"NVML.*Function Not Found|Function Not Found",
        "libnvidia-ml is older than the program that uses it",
        "Install every driver package at one version; look with: dpkg -l '*nvidia*'",
    ),
    _known(
        r"Key was rejected by service",
        "Secure Boot is on and the module's signing key is not enrolled",
        "mokutil --import /var/lib/dkms/mok.pub  # then confirm at the console while it boots",
    ),
)

_CUDA = (
    _known(
        r"requirement error: unsatisfied condition",
        "the driver is older than the image's CUDA requires (checked on the hook path only)",
        "Update the driver, or choose an image for the CUDA version that nvidia-smi shows.",
    ),
    _known(
        r"CUDA driver version is insufficient for CUDA runtime version",
        "the driver is older than the image's CUDA, or no driver was mounted into the container",
        "Update the driver, or choose an older image; ask for capabilities compute,utility",
    ),
    _known(
        r"forward compatibility was attempted on non supported HW",
        "the image's cuda-compat libraries do not work on a GPU that is not a data-center one",
        "Update the driver, or choose an image for the CUDA version that nvidia-smi shows.",
    ),
    _known(
        r"system has unsupported display driver / cuda driver combination|"
        r"system driver mismatch|\b803\b.*driver|driver.*\b803\b",
        "libcuda and the kernel module are of different driver versions",
        f"Install every driver package at one version, then: {REBOOT}",
    ),
    _known(
        r"system not yet initialized|\bCUDA\b.*\b802\b",
        "Fabric Manager does not run on a board with NVSwitch",
        "systemctl enable --now nvidia-fabricmanager.service",
    ),
)

_DAEMON = (
    _known(
        r"the following directives don't match any configuration option",
        "daemon.json has a key that this dockerd does not know, so it refuses to start",
        "Remove the key from /etc/docker/daemon.json; check with: "
        "dockerd --validate --config-file=/etc/docker/daemon.json",
    ),
    _known(
        r"specified both as a flag and in the configuration file",
        "the same setting is in daemon.json and on dockerd's command line (its unit)",
        "Remove it from one of them; look with: systemctl cat docker.service",
    ),
    _known(
        r"permission denied while trying to connect to the Docker (daemon|API)|"
        r"(connect|dial).*docker\.sock.*permission denied|permission denied.*docker\.sock|"
        r"Connection aborted.*PermissionError",
        "the user may not use docker's socket: not in the docker group, or not logged in anew "
        "since it was added",
        "usermod -aG docker <user>  # then log in again; the group is equivalent to root",
    ),
    _known(
        r"Cannot connect to the Docker daemon|(connect|dial).*docker\.sock|"
        r"docker\.sock.*(no such file|connection refused)|"
        r"fetching server API version.*(FileNotFoundError|ConnectionRefusedError)",
        "dockerd does not run, or not where its socket should be",
        START_DOCKER,
    ),
)

_IMAGES = (
    _known(
        r"manifest unknown|manifest for \S+ not found",
        "the registry has no image by this tag (CUDA images are deleted some months after their "
        "driver branch ends)",
        "Choose a tag that exists: gpuhost_cuda_image or gpuhost_ngc_image in the inventory.",
    ),
    _known(
        r"certificate signed by unknown authority|x509:",
        "the host does not trust the registry's certificate",
        "Put the CA's certificate into /etc/docker/certs.d/<registry>/ca.crt",
    ),
    _known(
        r"toomanyrequests|pull rate limit",
        "the registry limits how often this address may pull",
        "docker login  # or use a mirror: registry-mirrors in docker_ce_daemon_config",
    ),
    _known(
        r"unauthorized|authentication required|pull access denied|\bdenied\b.*repository",
        "the registry wants a login, or the image does not exist",
        "docker login <registry>  # nvcr.io: user '$oauthtoken', password: the NGC API key",
    ),
    _known(
        r"no such host|i/o timeout|network is unreachable|connection refused|"
        r"Client\.Timeout exceeded|TLS handshake timeout|no route to host",
        "the host cannot reach the registry",
        "curl -v https://<registry>/v2/  # on the host; DNS, gpuhost_https_proxy, firewall?",
    ),
    _known(
        r"no space left on device",
        "the disk that docker keeps its images on is full",
        "df -h /var/lib/docker /var/lib/containerd; docker system df",
    ),
)

_PACKAGES = (
    _known(
        r"Conflicting values set for option Signed-By",
        "two package lists name the same repository with different keys",
        "Remove the old one: ls /etc/apt/sources.list.d (libnvidia-container.list, "
        "nvidia-docker.list, nvidia-container-runtime.list, docker.list)",
    ),
)

_PROBE = (
    _known(
        r"No module named '_?ctypes'",
        "the host's Python has no ctypes, by which NVML is asked: its standard library is not "
        "complete",
        "apt-get install --reinstall -y libpython3-stdlib 'libpython3.*-stdlib' || "
        "dnf reinstall -y python3-libs",
    ),
    _known(
        r"gave no answer within|did not answer in time|had not said all in time|"
        r"did not end (in time|within)|timed out",
        "what was asked hangs (a GPU, its driver or dockerd), or the host is overloaded",
        "uptime; dmesg | grep -iE 'nvrm|xid|blocked for more'; systemctl status docker.service",
    ),
    _known(
        r"ended without an answer",
        "the part of the probe that read it crashed, often inside the driver's library",
        "dmesg | tail -50  # then report it, with the evidence file",
    ),
)

KNOWN = (*_LOST, *_CONTAINER_REQUESTS, *_DRIVER, *_CUDA, *_DAEMON, *_IMAGES, *_PACKAGES, *_PROBE)


def recognise(text: str) -> Failure | None:
    """The known failure that ``text`` speaks of, if there is one."""
    return next((failure for failure in KNOWN if failure.pattern.search(text)), None)


def explain(text: str, remedy: str) -> tuple[str, str]:
    """Cause and remedy of a failure text; ``remedy`` is what to do about one that is unknown."""
    failure = recognise(text)
    if failure is None:
        return UNKNOWN_CAUSE, remedy
    return failure.cause, failure.remedy
