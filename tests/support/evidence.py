"""Evidence of a host on which everything is well, to be spoilt by the tests that use it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpuhost.model import Desired
from gpuhost.probe.schema import (
    SCHEMA_VERSION,
    SECTIONS,
    Command,
    Containers,
    Docker,
    Driver,
    Evidence,
    FileText,
    GpuHealth,
    Health,
    Image,
    KernelLog,
    MigDevice,
    NvidiaSmi,
    Nvml,
    NvmlGpu,
    Package,
    Pci,
    Preflight,
    Provisioning,
    Spec,
    System,
    Throughput,
    Toolkit,
    Trial,
    Trials,
    Unit,
    Upkeep,
    Users,
)
from gpuhost.probe.trials import DIVIDED, PlannedTrial, divided_gpus, docker_run, plan, usable_gpus

MODEL = "NVIDIA A100-SXM4-40GB"
DRIVER = "580.178.04"
ENGINE = "29.7.2"
ENGINE_PACKAGE = "5:29.7.2-1~debian.12~bookworm"
TOOLKIT = "1.20.0-1"
CUDA_IMAGE = "nvidia/cuda:13.0.3-base-ubuntu24.04"
NGC_IMAGE = "nvcr.io/nvidia/pytorch:26.08-py3"
USER = "alice"
NOW = 1_795_003_600.0
REQUIREMENT = "NVIDIA_REQUIRE_CUDA=cuda>=13.0 brand=tesla,driver>=550,driver<551"
BUSES = ("07", "0f", "47", "4e", "87", "90", "b7", "bd", "c7", "cb", "d7", "db", "e7", "ea")
DAEMON = {
    "features": {"cdi": True},
    "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}},
}


def uuid_of(index: int) -> str:
    return f"GPU-03d91bdd-e1b1-e418-7862-{index:012x}"


def healthy_desired(gpus: int = 4) -> Desired:
    """A declaration that a healthy host meets in every point."""
    return Desired(
        gpu_count=gpus,
        gpu_model="A100-SXM4-40GB",
        gpu_uuids=tuple(uuid_of(index) for index in range(gpus)),
        driver_branch="580",
        driver_version=DRIVER,
        docker_version=ENGINE_PACKAGE,
        daemon_config={"features": {"cdi": True}},
        toolkit_version=TOOLKIT,
        docker_users=(USER,),
        cuda_image=CUDA_IMAGE,
        ngc_image=NGC_IMAGE,
    )


def part_uuid_of(index: int, part: int) -> str:
    return f"MIG-5c1ad7b2-0c3e-5f4e-8862-{index:06x}{part:06x}"


def healthy_evidence(gpus: int = 4, divided: Mapping[int, int] | None = None) -> Evidence:
    """Evidence that passes every check under :func:`healthy_desired`.

    ``divided``: into how many MIG devices of which GPU, by its index.
    """
    nvml = _nvml(gpus, divided or {})
    data: dict[str, Any] = {
        "system": _system(),
        "pci": _pci(gpus),
        "driver": _driver(nvml),
        "nvml": nvml,
        "nvidia_smi": _nvidia_smi(nvml),
        "docker": _docker(),
        "toolkit": _toolkit(nvml),
        "users": _users(),
        "provisioning": _provisioning(),
        "preflight": Preflight(state={}, keys=[]),
        "health": Health(failure=None, gpus=[gpu_health(index) for index in range(gpus)]),
        "kernel_log": _kernel_log(),
        "upkeep": _upkeep(),
        "containers": _containers(nvml),
        "throughput": throughput(gpus),
    }
    return Evidence(
        schema_version=SCHEMA_VERSION,
        probe={
            "version": "0.1.0",
            "uid": 0,
            "started": "2026-11-22T01:00:00+00:00",
            "duration_s": 8.0,
        },
        spec=_spec(),
        sections={
            name: {"error": None, "duration_s": 0.1, "data": data[name]} for name in SECTIONS
        },
    )


def ended(argv: Sequence[str], stdout: str = "", stderr: str = "", rc: int = 0) -> Command:
    """A command that ended by itself."""
    return Command(
        argv=list(argv),
        rc=rc,
        stdout=stdout,
        stderr=stderr,
        duration_s=0.1,
        timed_out=False,
        error=None,
    )


def text_file(path: str, text: str) -> FileText:
    return FileText(path=path, exists=True, text=text, error=None)


def _spec() -> Spec:
    return Spec(
        schema_version=SCHEMA_VERSION,
        sections=list(SECTIONS),
        users=[USER],
        packages=[],
        free_paths=[],
        command_timeout_s=20.0,
        section_timeout_s=60.0,
        trials=_asked(),
    )


def _asked() -> Trials:
    return Trials(
        cuda_image=CUDA_IMAGE,
        ngc_image=NGC_IMAGE,
        user=USER,
        paths=["gpus", "runtime", "cdi"],
        groups=[],
        pull=True,
        parallel=4,
        trial_timeout_s=60.0,
        pull_timeout_s=1800.0,
    )


def _system() -> System:
    return System(
        hostname="gpu-01",
        os_id="debian",
        os_id_like=[],
        os_version_id="12",
        os_codename="bookworm",
        os_pretty_name="Debian GNU/Linux 12 (bookworm)",
        arch="x86_64",
        kernel="6.1.0-40-amd64",
        kernels_installed=["6.1.0-40-amd64"],
        boot_id="0c1e7c4e-0f5e-4b5e-9f43-6d3f6f1f5a10",
        uptime_s=3600.0,
        secure_boot=False,
        reboot_required=False,
        python="3.11.2",
        now="2026-11-22T01:00:00+00:00",
        disks=[
            {
                "path": "/",
                "total_bytes": 200 << 30,
                "free_bytes": 120 << 30,
                "total_inodes": 13_000_000,
                "free_inodes": 12_000_000,
            }
        ],
    )


def _pci(gpus: int) -> Pci:
    return Pci(
        devices=[
            {
                "address": f"0000:{BUSES[index]}:00.0",
                "vendor": "0x10de",
                "device": "0x20b0",
                "class_code": "0x030200",
                "driver": "nvidia",
            }
            for index in range(gpus)
        ]
    )


def _driver(nvml: Nvml) -> Driver:
    return Driver(
        loaded_version=DRIVER,
        loaded_text=f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release\n",
        on_disk_version=DRIVER,
        on_disk_license="Dual MIT/GPL",
        userspace_version=DRIVER,
        nouveau_loaded=False,
        nouveau_blacklisted=True,
        gpu_users=[],
        device_nodes=[
            {"path": path, "major": major, "minor": minor, "mode": "0666"}
            for path, major, minor in _nodes(nvml)
        ],
        packages=_packages(
            f"{DRIVER}-1",
            "nvidia-driver-cuda",
            "nvidia-kernel-open-dkms",
            "libnvidia-ml1",
            held=True,
        ),
        units=[_unit("nvidia-persistenced.service")],
    )


def _nodes(nvml: Nvml) -> list[tuple[str, int, int]]:
    numbered = [(f"/dev/nvidia{gpu['index']}", 195, gpu["index"]) for gpu in nvml["gpus"]]
    rights = [node for gpu in nvml["gpus"] for part in gpu["mig_devices"] for node in part["nodes"]]
    numbered += [(node, 509, _capability_minor(node)) for node in rights]
    return [*numbered, ("/dev/nvidiactl", 195, 255), ("/dev/nvidia-uvm", 510, 0)]


def _capability_minor(node: str) -> int:
    return int(node.rpartition("cap")[2])


def _packages(version: str, *names: str, held: bool = False) -> list[Package]:
    return [Package(name=name, version=version, held=held) for name in names]


def _unit(name: str) -> Unit:
    return Unit(name=name, load_state="loaded", active_state="active", enabled_state="enabled")


def _nvml(gpus: int, divided: Mapping[int, int]) -> Nvml:
    return Nvml(
        failure=None,
        driver_version=DRIVER,
        cuda_version="13.0",
        gpus=[_nvml_gpu(index, divided.get(index, 0)) for index in range(gpus)],
    )


def _nvml_gpu(index: int, parts: int) -> NvmlGpu:
    return NvmlGpu(
        index=index,
        uuid=uuid_of(index),
        name=MODEL,
        bus_id=f"00000000:{BUSES[index].upper()}:00.0",
        minor=index,
        serial=f"165000000000{index}",
        memory_total_bytes=40 << 30,
        memory_used_bytes=0,
        compute_capability="8.0",
        persistence_mode=True,
        temperature_c=31,
        mig_current=bool(parts),
        mig_pending=bool(parts),
        mig_devices=[_part(index, part) for part in range(parts)],
        fabric=None,
        failures={},
    )


def _part(index: int, part: int) -> MigDevice:
    first = 3 + index * 135 + (part + 7) * 9
    return MigDevice(
        index=part,
        uuid=part_uuid_of(index, part),
        name=f"{MODEL} MIG 1g.5gb",
        gpu_instance=part + 7,
        compute_instance=0,
        nodes=[f"/dev/nvidia-caps/nvidia-cap{first + own}" for own in (0, 1)],
    )


def gpu_health(index: int) -> GpuHealth:
    """A GPU at rest, in good health."""
    return GpuHealth(
        index=index,
        uuid=uuid_of(index),
        utilisation_percent=0,
        ecc_current=True,
        ecc_pending=True,
        ecc_uncorrected=0,
        ecc_uncorrected_ever=0,
        retired_pages_pending=None,
        remapped_rows={"corrected": 0, "uncorrected": 0, "pending": False, "failed": False},
        pcie_generation=4,
        pcie_generation_max=4,
        pcie_width=16,
        pcie_width_max=16,
        clocks_event_reasons=1,
        temperature_c=31,
        temperature_max_c=85,
        temperature_slowdown_c=89,
        temperature_margin_c=None,
        memory_temperature_c=34,
        memory_temperature_max_c=95,
        power_w=54.0,
        power_limit_w=400.0,
        power_default_limit_w=400.0,
        compute_mode=0,
        recovery_action=0,
        inforom_valid=True,
        nvlinks=[True] * 12,
        failures={},
    )


def _kernel_log() -> KernelLog:
    text = "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.178.04"
    return KernelLog(source="journalctl", lines=[{"time": 1_795_000_000.0, "text": text}], now=NOW)


def _upkeep() -> Upkeep:
    return Upkeep(
        clock={"synchronised": True, "error": None, "units": [_unit("chrony.service")]},
        upgrades={"pending": [], "error": None, "automatic": False, "exposed": []},
        next_boot={"kernel": "6.1.0-40-amd64", "module_version": DRIVER},
    )


def _nvidia_smi(nvml: Nvml) -> NvidiaSmi:
    path = "/usr/bin/nvidia-smi"
    return NvidiaSmi(
        path=path,
        list_gpus=ended([path, "-L"], gpu_list(nvml["gpus"])),
        table=ended([path], _table(nvml)),
        query_xml=ended([path, "-q", "-x"], _xml(nvml)),
    )


def gpu_list(gpus: Iterable[NvmlGpu]) -> str:
    """What ``nvidia-smi -L`` prints of them; each is numbered anew, as in a container."""
    lines: list[str] = []
    for number, gpu in enumerate(gpus):
        lines.append(f"GPU {number}: {gpu['name']} (UUID: {gpu['uuid']})\n")
        lines += [
            f"  MIG 1g.5gb      Device {slot:2}: (UUID: {part['uuid']})\n"
            for slot, part in enumerate(gpu["mig_devices"])
        ]
    return "".join(lines) or "No devices found.\n"


def gpu_query(gpus: Iterable[NvmlGpu]) -> str:
    """What the csv query prints of them."""
    lines = [f"{i}, {g['uuid']}, {g['bus_id']}, {g['name']}\n" for i, g in enumerate(gpus)]
    return "".join(lines) or "No devices were found\n"


def _table(nvml: Nvml) -> str:
    rows = "".join(
        f"|   {g['index']}  {g['name']:<30}  On  |   {g['bus_id']} Off |                    0 |\n"
        "| N/A   31C    P0          54W / 400W |      0MiB / 40960MiB |      0%      Default |\n"
        for g in nvml["gpus"]
    )
    return f"| NVIDIA-SMI {DRIVER}    Driver Version: {DRIVER}    CUDA Version: 13.0 |\n{rows}"


def _xml(nvml: Nvml) -> str:
    gpus = "".join(
        f"""<gpu id="{g["bus_id"]}">
<product_name>{g["name"]}</product_name><product_architecture>Ampere</product_architecture>
<persistence_mode>Enabled</persistence_mode>
<mig_mode><current_mig>{_mode(g["mig_current"])}</current_mig>
<pending_mig>{_mode(g["mig_pending"])}</pending_mig></mig_mode>
<mig_devices>None</mig_devices>
<uuid>{g["uuid"]}</uuid><minor_number>{g["minor"]}</minor_number>
<pci><pci_bus_id>{g["bus_id"]}</pci_bus_id></pci>
<serial>{g["serial"]}</serial><compute_mode>Default</compute_mode>
<gpu_recovery_action>None</gpu_recovery_action>
<temperature><gpu_temp>31 C</gpu_temp></temperature>
<ecc_mode><current_ecc>Enabled</current_ecc><pending_ecc>Enabled</pending_ecc></ecc_mode>
<ecc_errors><volatile><dram_uncorrectable>0</dram_uncorrectable></volatile>
<aggregate><dram_uncorrectable>0</dram_uncorrectable></aggregate></ecc_errors>
<retired_pages><pending_retirement>N/A</pending_retirement></retired_pages>
<remapped_rows><remapped_row_corr>0</remapped_row_corr><remapped_row_unc>0</remapped_row_unc>
<remapped_row_pending>No</remapped_row_pending><remapped_row_failure>No</remapped_row_failure>
</remapped_rows>
</gpu>
"""
        for g in nvml["gpus"]
    )
    return f"""<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">
<nvidia_smi_log>
<driver_version>{DRIVER}</driver_version><cuda_version>13.0</cuda_version>
<attached_gpus>{len(nvml["gpus"])}</attached_gpus>
{gpus}</nvidia_smi_log>
"""


def _mode(flag: bool | None) -> str:
    return "Enabled" if flag else "Disabled"


def _docker() -> Docker:
    return Docker(
        connect_error=None,
        info={
            "server_version": ENGINE,
            "api_version": "1.55",
            "runtimes": {"runc": "runc", "nvidia": "nvidia-container-runtime"},
            "default_runtime": "runc",
            "cgroup_driver": "systemd",
            "cgroup_version": "2",
            "storage_driver": "overlayfs",
            "cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"],
            "discovered_devices": [],
            "root_dir": "/var/lib/docker",
        },
        running=[],
        logins=[],
        daemon_json=text_file("/etc/docker/daemon.json", json.dumps(DAEMON)),
        validate=ended(["dockerd", "--validate"], stderr="configuration OK\n"),
        packages=[
            *_packages(ENGINE_PACKAGE, "docker-ce", "docker-ce-cli"),
            *_packages("2.3.1-1~debian.12~bookworm", "containerd.io"),
        ],
        units=[_unit("docker.service")],
    )


def cdi_spec(gpus: int, driver: str = DRIVER) -> str:
    """The specification of that many GPUs, none of them divided."""
    return cdi_spec_of(_nvml(gpus, {}), driver)


def cdi_spec_of(nvml: Nvml, driver: str = DRIVER) -> str:
    """A specification as nvidia-ctk writes it, short of what no check reads."""

    def device(name: str, paths: Iterable[str]) -> dict[str, object]:
        nodes = [
            {"path": path, "major": 509 if "cap" in path else 195}
            | ({"minor": minor} if (minor := int(re.sub(r"\D", "", path))) else {})
            for path in dict.fromkeys(paths)
        ]
        return {"name": name, "containerEdits": {"deviceNodes": nodes}}

    names = [(name, nodes) for gpu in nvml["gpus"] for name, nodes in _handed_out(gpu)]
    names.sort(key=lambda named: "-" in named[0])  # indices, then UUIDs
    every = [node for _, nodes in names for node in nodes]
    library = f"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.{driver}"
    document = {
        "cdiVersion": "0.7.0",
        "kind": "nvidia.com/gpu",
        "devices": [device(name, nodes) for name, nodes in [*names, ("all", every)]],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [
                {"path": "/dev/nvidiactl", "major": 195, "minor": 255},
                {"path": "/dev/nvidia-uvm", "major": 510},
            ],
            "mounts": [{"hostPath": library, "containerPath": library}],
        },
    }
    return json.dumps(document)


def _handed_out(gpu: NvmlGpu) -> Iterator[tuple[str, list[str]]]:
    own = f"/dev/nvidia{gpu['minor']}"
    if not gpu["mig_current"]:
        yield from ((name, [own]) for name in (str(gpu["index"]), str(gpu["uuid"])))
    for part in gpu["mig_devices"]:
        for name in (f"{gpu['index']}:{part['index']}", str(part["uuid"])):
            yield name, [own, *part["nodes"]]


def _toolkit(nvml: Nvml) -> Toolkit:
    return Toolkit(
        ctk_version=ended(["nvidia-ctk", "--version"], "NVIDIA Container Toolkit CLI 1.20.0\n"),
        cdi_list=ended(["nvidia-ctk", "cdi", "list"]),
        hook_path="/usr/bin/nvidia-container-runtime-hook",
        config_toml=text_file("/etc/nvidia-container-runtime/config.toml", ""),
        cdi_specs=[text_file("/var/run/cdi/nvidia.yaml", cdi_spec_of(nvml))],
        packages=_packages(
            TOOLKIT,
            "nvidia-container-toolkit",
            "nvidia-container-toolkit-base",
            "libnvidia-container-tools",
            "libnvidia-container1",
        ),
        units=[_unit("nvidia-cdi-refresh.path"), _unit("nvidia-cdi-refresh.service")],
    )


def _users() -> Users:
    return Users(
        docker_group={"gid": 998, "members": [USER]},
        users=[{"name": USER, "exists": True, "uid": 1001, "groups": [USER, "docker"]}],
    )


def _provisioning() -> Provisioning:
    return Provisioning(
        stamps={},
        run=None,
        history=None,
        files=[],
        packages=[],
        streams={},
        persistenced_unit=None,
        candidates=None,
        lists_read=True,
        dockerd_started_at=1e9,
    )


def _containers(nvml: Nvml) -> Containers:
    gpus, count = usable_gpus(nvml)
    planned = plan(gpus, count, _asked(), divided_gpus(nvml))
    return Containers(
        images=[
            _image("cuda", CUDA_IMAGE, [REQUIREMENT, "CUDA_VERSION=13.0.3"]),
            _image("ngc", NGC_IMAGE, ["NVIDIA_PYTORCH_VERSION=26.08", "CUDA_VERSION=13.0.2"]),
        ],
        trials=[_trial(each, nvml, number) for number, each in enumerate(planned)],
        left_behind=[],
        swept=[],
    )


def _image(role: str, reference: str, env: list[str]) -> Image:
    return Image(
        role=role,
        reference=reference,
        present_before=True,
        pull_error=None,
        pull_duration_s=0.0,
        id="sha256:5f1d",
        digests=[],
        env=env,
    )


def _trial(planned: PlannedTrial, nvml: Nvml, number: int) -> Trial:
    expected = planned.expected_uuids
    seen = list(_seen(nvml, expected or ()))
    parts = [(gpu, part) for gpu in seen for part in gpu["mig_devices"]]
    units = [(gpu["uuid"], gpu["bus_id"]) for gpu in seen if not gpu["mig_current"]]
    units += [(part["uuid"], gpu["bus_id"]) for gpu, part in parts]
    nodes = [f"/dev/nvidia{gpu['minor']}" for gpu in seen]
    nodes += [node for _, part in parts for node in part["nodes"]]
    # The two of a pair follow each other in the plan, and are open together.
    opened = float(number // 2 * 2 if planned.pair else number)
    trial = Trial(
        id=planned.id,
        path=planned.path,
        selector=planned.selector,
        request=planned.request,
        expected_uuids=expected,
        expected_bus_ids=planned.expected_bus_ids,
        image_role=planned.image_role,
        image=planned.image,
        user=planned.user,
        pair=planned.pair,
        docker_run=docker_run(planned),
        outcome="ran",
        exit_code=0,
        list_gpus=gpu_list(seen),
        query=gpu_query(seen),
        nvml=json.dumps(units),
        output="",
        error=None,
        served_by="void",
        device_nodes=[*nodes, "/dev/nvidiactl"],
        opened_s=opened,
        closed_s=opened + 2.0 + number % 2 / 10,
    )
    if expected is None or planned.selector == DIVIDED:
        return _refused(trial)
    return trial if expected or planned.path == "runtime" else _plain(trial)


def _seen(nvml: Nvml, expected: Collection[str]) -> Iterator[NvmlGpu]:
    """What a container with these GPUs and MIG devices sees: a divided GPU with its own parts."""
    for gpu in nvml["gpus"]:
        parts = [part for part in gpu["mig_devices"] if part["uuid"] in expected]
        if parts or gpu["uuid"] in expected:
            yield {**gpu, "mig_devices": parts}


def _refused(trial: Trial) -> Trial:
    return {
        **trial,
        "outcome": "refused",
        "exit_code": None,
        "list_gpus": "",
        "query": "",
        "nvml": None,
        "error": "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=99",
        "served_by": None,
        "device_nodes": [],
    }


def _plain(trial: Trial) -> Trial:
    """A container that nobody injected anything into: nvidia-smi is not even there."""
    return {
        **trial,
        "exit_code": 127,
        "list_gpus": "",
        "query": "",
        "nvml": None,
        "output": "gpuhost: 12: nvidia-smi: not found\n",
        "served_by": "all",
        "device_nodes": [],
    }


def throughput(gpus: int, **changes: Any) -> Throughput:
    """A training on GPUs that all work."""
    devices = [
        {
            "index": index,
            "name": MODEL,
            "exact": True,
            "tflops": 600.0 + index,
            "images_per_s": 2500.0 + index,
        }
        for index in range(gpus)
    ]
    printed = {"torch": "2.12.0", "cuda": "13.0", "available": True, "devices": devices}
    return Throughput(
        image=NGC_IMAGE,
        docker_run=f"docker run --rm --gpus all {NGC_IMAGE} python3",
        outcome="ran",
        error=None,
        stdout=json.dumps(printed | changes) + "\n",
        stderr="",
        duration_s=30.0,
    )
