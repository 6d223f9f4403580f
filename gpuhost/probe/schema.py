"""The two documents of the probe: the Spec it is given and the Evidence it prints.

Runs on Python 3.9 with the standard library only, and imports nothing of the
controller's. ``None`` always means "could not be read or does not exist";
sizes are bytes, times are seconds unless a name says otherwise.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict

SCHEMA_VERSION = 1

SECTIONS = (
    "system",
    "pci",
    "driver",
    "nvml",
    "nvidia_smi",
    "docker",
    "toolkit",
    "users",
    "provisioning",
    "preflight",
    "health",
    "kernel_log",
    "upkeep",
    "containers",
    "throughput",
)


# ---------------------------------------------------------------- what goes in


class Trials(TypedDict):
    """The container trials to run; absent (None) in a Spec means none."""

    cuda_image: str
    ngc_image: str
    user: Optional[str]  # a docker-group user for the trial without sudo
    paths: List[str]  # of "gpus", "runtime", "cdi"
    groups: List[str]  # of trials.GROUPS; empty: all
    pull: bool
    parallel: int
    trial_timeout_s: float
    pull_timeout_s: float


class Spec(TypedDict):
    schema_version: int
    sections: List[str]  # empty: all of SECTIONS
    users: List[str]  # users to look up besides the docker group's
    packages: List[str]  # packages whose candidates to look up
    free_paths: List[str]  # paths where room will be needed
    command_timeout_s: float
    section_timeout_s: float
    trials: Optional[Trials]


# ------------------------------------------------------------- what comes out


class Command(TypedDict):
    """One command as it was run. ``rc`` is None if it never ended by itself."""

    argv: List[str]
    rc: Optional[int]
    stdout: str  # decoded as UTF-8 with replacement, cut at 1 MiB
    stderr: str
    duration_s: float
    timed_out: bool
    error: Optional[str]  # why it could not be started


class FileText(TypedDict):
    path: str
    exists: bool
    text: Optional[str]
    error: Optional[str]


class Package(TypedDict):
    name: str
    version: str
    held: bool


class Unit(TypedDict):
    name: str
    load_state: str  # loaded, not-found, masked …
    active_state: str  # active, inactive, failed …
    enabled_state: str  # enabled, disabled, static … or ""


class Disk(TypedDict):
    path: str
    total_bytes: int
    free_bytes: int
    total_inodes: int  # 0 where the file system does not count them
    free_inodes: int


class System(TypedDict):
    hostname: str
    os_id: str
    os_id_like: List[str]
    os_version_id: str
    os_codename: str
    os_pretty_name: str
    arch: str
    kernel: str
    kernels_installed: List[str]
    boot_id: Optional[str]
    uptime_s: Optional[float]
    secure_boot: Optional[bool]
    reboot_required: bool
    python: str
    now: str  # ISO 8601, UTC
    disks: List[Disk]


class PciDevice(TypedDict):
    address: str  # 0000:17:00.0
    vendor: str  # 0x10de
    device: str  # 0x2330
    class_code: str  # 0x030200
    driver: Optional[str]


class Pci(TypedDict):
    """NVIDIA's devices only (vendor 0x10de)."""

    devices: List[PciDevice]


class DeviceNode(TypedDict):
    path: str
    major: int
    minor: int
    mode: str  # octal, "0666"


class Driver(TypedDict):
    loaded_version: Optional[str]  # /sys/module/nvidia/version, else /proc/driver/nvidia/version
    loaded_text: Optional[str]  # /proc/driver/nvidia/version
    on_disk_version: Optional[str]  # modinfo -F version nvidia
    on_disk_license: Optional[str]
    userspace_version: Optional[str]  # from what libnvidia-ml.so.1 links to
    nouveau_loaded: bool
    nouveau_blacklisted: bool
    gpu_users: List[str]  # processes that have a GPU open: "pid name"; NVIDIA's own idle ones not
    device_nodes: List[DeviceNode]
    packages: List[Package]
    units: List[Unit]


class NvmlFailure(TypedDict):
    code: Optional[int]
    name: str
    text: str


class MigDevice(TypedDict):
    """One part of a divided GPU."""

    index: int  # the M of its name G:M
    uuid: Optional[str]
    name: Optional[str]  # "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    gpu_instance: Optional[int]
    compute_instance: Optional[int]
    nodes: List[str]  # the two that stand for the right to use it; empty: not known


class Fabric(TypedDict):
    """How a GPU stands to its NVSwitches: 2 is in progress, 3 completed, then with its status."""

    state: int
    status: int  # NVML's return code


class NvmlGpu(TypedDict):
    """One GPU as NVML describes it; a field that NVML does not support is None."""

    index: int
    uuid: Optional[str]
    name: Optional[str]
    bus_id: Optional[str]
    minor: Optional[int]
    serial: Optional[str]
    memory_total_bytes: Optional[int]
    memory_used_bytes: Optional[int]
    compute_capability: Optional[str]
    persistence_mode: Optional[bool]
    temperature_c: Optional[int]
    mig_current: Optional[bool]
    mig_pending: Optional[bool]
    mig_devices: List[MigDevice]
    fabric: Optional[Fabric]  # None: the GPU is in no fabric that its driver tells of
    failures: Dict[str, str]  # field → why it could not be read, other than "not supported"


class Nvml(TypedDict):
    failure: Optional[NvmlFailure]  # of nvmlInit, or of finding the library
    driver_version: Optional[str]
    cuda_version: Optional[str]  # "13.0"
    gpus: List[NvmlGpu]


class RemappedRows(TypedDict):
    corrected: int
    uncorrected: int
    pending: bool
    failed: bool


class GpuHealth(TypedDict):
    """How one GPU is; a field that NVML does not support is None.

    Limits that NVML does not tell are None too. ``clocks_event_reasons``,
    ``compute_mode`` and ``recovery_action`` are NVML's own numbers.
    """

    index: int
    uuid: Optional[str]
    utilisation_percent: Optional[int]
    ecc_current: Optional[bool]
    ecc_pending: Optional[bool]
    ecc_uncorrected: Optional[int]  # since the driver was loaded
    ecc_uncorrected_ever: Optional[int]
    retired_pages_pending: Optional[bool]
    remapped_rows: Optional[RemappedRows]
    pcie_generation: Optional[int]
    pcie_generation_max: Optional[int]  # that the GPU and its slot can do
    pcie_width: Optional[int]
    pcie_width_max: Optional[int]
    clocks_event_reasons: Optional[int]
    temperature_c: Optional[int]
    temperature_max_c: Optional[int]  # up to which it may work
    temperature_slowdown_c: Optional[int]
    temperature_margin_c: Optional[int]  # what is left to the slowdown, on newer GPUs
    memory_temperature_c: Optional[int]
    memory_temperature_max_c: Optional[int]
    power_w: Optional[float]
    power_limit_w: Optional[float]
    power_default_limit_w: Optional[float]
    compute_mode: Optional[int]
    recovery_action: Optional[int]
    inforom_valid: Optional[bool]
    nvlinks: List[bool]  # whether each is up; empty where there are none
    failures: Dict[str, str]  # field → why it could not be read, other than "not supported"


class Health(TypedDict):
    failure: Optional[NvmlFailure]
    gpus: List[GpuHealth]


class LogLine(TypedDict):
    time: Optional[float]  # seconds since 1970
    text: str


class KernelLog(TypedDict):
    """What the kernel said of NVIDIA's devices since it was booted, oldest first."""

    source: str  # journalctl or dmesg
    lines: List[LogLine]
    now: float


class Clock(TypedDict):
    synchronised: Optional[bool]
    error: Optional[str]
    units: List[Unit]  # those that can keep a clock right, as far as they are installed


class Upgrade(TypedDict):
    name: str
    installed: str
    candidate: str


class Upgrades(TypedDict):
    """Packages that the next upgrade would replace: those on hold are not among them."""

    pending: Optional[List[Upgrade]]
    error: Optional[str]
    automatic: bool  # whether the host upgrades by itself
    # Packages that it may then replace, this night or another: not held, not excluded, and from
    # where it takes upgrades.
    exposed: List[str]


class NextBoot(TypedDict):
    kernel: Optional[str]
    module_version: Optional[str]  # of the nvidia module that is built for that kernel


class Upkeep(TypedDict):
    """What happens to the host while nobody looks."""

    clock: Clock
    upgrades: Upgrades
    next_boot: NextBoot


class NvidiaSmi(TypedDict):
    path: Optional[str]
    list_gpus: Optional[Command]  # nvidia-smi -L
    table: Optional[Command]  # nvidia-smi
    query_xml: Optional[Command]  # nvidia-smi -q -x


class DockerInfo(TypedDict):
    """The part of the Engine API's /info and /version that checks read."""

    server_version: str
    api_version: str
    runtimes: Dict[str, str]  # name → path
    default_runtime: str
    cgroup_driver: str
    cgroup_version: str
    storage_driver: str
    cdi_spec_dirs: List[str]
    discovered_devices: List[str]  # "nvidia.com/gpu=0", Engine 28.2 and later
    root_dir: str


class RunningContainer(TypedDict):
    id: str
    name: str
    image: str
    labels: Dict[str, str]
    gpus: str  # as they were asked for: "all", "2", "0,1"; empty: none


class Login(TypedDict):
    """A registry login of root's. The password stays where it is."""

    registry: str  # as docker writes it in config.json
    username: str  # empty where a credential store has it


class Docker(TypedDict):
    connect_error: Optional[str]  # why the daemon did not answer
    info: Optional[DockerInfo]
    running: List[RunningContainer]
    logins: List[Login]
    daemon_json: FileText
    validate: Optional[Command]  # dockerd --validate --config-file=…
    packages: List[Package]
    units: List[Unit]


class Toolkit(TypedDict):
    ctk_version: Optional[Command]  # nvidia-ctk --version
    cdi_list: Optional[Command]  # nvidia-ctk cdi list
    hook_path: Optional[str]  # nvidia-container-runtime-hook in dockerd's PATH
    config_toml: FileText
    cdi_specs: List[FileText]  # every file in /etc/cdi and /var/run/cdi
    packages: List[Package]
    units: List[Unit]


class DockerGroup(TypedDict):
    gid: int
    members: List[str]


class User(TypedDict):
    name: str
    exists: bool
    uid: Optional[int]
    groups: List[str]


class Users(TypedDict):
    docker_group: Optional[DockerGroup]
    users: List[User]


class ConfigFile(TypedDict):
    path: str
    mode: str  # octal, "0644"
    changed_at: float  # of its inode, in seconds since the epoch
    sha256: Optional[str]  # of its content; None if it could not be read
    text: Optional[str]  # of a small file of a name that the roles write, without passwords in URLs


class Provisioning(TypedDict):
    """What a plan compares with what the roles declare."""

    stamps: Dict[str, str]  # role → text of the stamp that it left
    run: Optional[str]  # text of the record of a run that is at work there, or that died
    history: Optional[str]  # text of the record of what earlier runs changed
    files: List[ConfigFile]  # in the folders that the roles write to
    packages: List[Package]  # everything installed
    streams: Dict[str, str]  # of dnf's modules, those that are enabled
    persistenced_unit: Optional[str]  # text of the unit that nvidia-persistenced's package brought
    candidates: Optional[Command]  # apt-cache policy, or dnf repoquery
    lists_read: bool  # whether apt has package lists
    dockerd_started_at: Optional[float]


class SigningKey(TypedDict):
    """A key file of a package repository."""

    path: str
    fingerprints: List[str]  # of its primary keys
    problem: str  # why it is not taken as it is; empty if it is


class Preflight(TypedDict):
    """What the roles decide by."""

    state: Dict[str, Any]  # as playbooks/module_utils/host_state.py reads it
    keys: List[SigningKey]


class Image(TypedDict):
    role: str  # "cuda" or "ngc"
    reference: str
    present_before: bool
    pull_error: Optional[str]
    pull_duration_s: float
    id: Optional[str]
    digests: List[str]
    env: List[str]


class Trial(TypedDict):
    """One container: what was asked for, and what came of it.

    ``expected_uuids`` None means that the request must be refused.
    ``outcome``: "ran" (exit code and output are there), "refused" (the
    daemon or the runtime said no; ``error`` has its words), "timeout",
    "error" (the trial itself could not be carried out).
    ``served_by``: NVIDIA_VISIBLE_DEVICES inside; "void" means CDI.
    """

    id: str  # "gpus/index/0", "cdi/all", "runtime/bad-uuid", "pair-1/gpus/a"
    path: str  # "gpus", "runtime", "cdi"
    # index, uuid, all, none, half, complement, bad-index, bad-uuid; divided: a GPU that was
    # divided is asked for as a whole, which must be refused or show nothing to work on
    selector: str
    request: List[str]  # ids exactly as passed
    expected_uuids: Optional[List[str]]
    expected_bus_ids: Optional[List[str]]
    image_role: str
    image: str
    user: Optional[str]
    pair: Optional[str]  # trials with the same pair were open at the same time
    docker_run: str  # the equivalent docker command line, ready to paste
    outcome: str
    exit_code: Optional[int]
    list_gpus: str  # stdout of nvidia-smi -L inside
    query: str  # stdout of nvidia-smi --query-gpu=index,uuid,pci.bus_id,name --format=csv,noheader
    # JSON list of [uuid, bus id] read through NVML by a Python inside, if any: of GPUs, and in
    # the place of those that are divided, of MIG devices
    nvml: Optional[str]
    output: str  # everything else printed, both streams
    error: Optional[str]
    served_by: Optional[str]
    device_nodes: List[str]  # /dev/nvidia* inside
    opened_s: float  # since the section began
    closed_s: float


class Containers(TypedDict):
    images: List[Image]
    trials: List[Trial]
    left_behind: Optional[List[str]]  # our containers that could not be removed
    swept: List[str]  # our containers of an earlier run that were found and removed


class Throughput(TypedDict):
    """What the framework image could do on all GPUs.

    ``outcome``: "ran" (``stdout`` has the benchmark's JSON), "refused", "timeout",
    "error", or why nothing was started: "not asked", "no image", "busy"
    (``error`` has the processes that use the GPUs).
    """

    image: str
    docker_run: str  # a command line that shows what PyTorch sees, ready to paste
    outcome: str
    error: Optional[str]
    stdout: str
    stderr: str
    duration_s: float


class Section(TypedDict):
    """``error`` None: ``data`` is one of the documents above, named by the section."""

    error: Optional[str]
    duration_s: float
    data: Optional[Any]


class ProbeInfo(TypedDict):
    version: str
    uid: int
    started: str  # ISO 8601, UTC
    duration_s: float


class Evidence(TypedDict):
    schema_version: int
    probe: ProbeInfo
    spec: Spec  # as it was given, so that what was not asked for is told from what went missing
    sections: Dict[str, Section]
