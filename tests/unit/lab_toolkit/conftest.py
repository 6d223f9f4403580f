"""The machine on which the captures were made: four simulated GPUs, driver 550.163.01."""

from __future__ import annotations

import pytest

from gpuhost.lab.toolkit.standin.host import DeviceNode, DriverFiles, Host, Library
from gpuhost.lab.toolkit.standin.nvml import Gpu, Instance

VERSION = "550.163.01"
LIBRARY_DIR = "/usr/lib/x86_64-linux-gnu"
UUIDS = (
    "GPU-03d91bdd-e1b1-e418-7862-7d0dbe980e2e",
    "GPU-03d91cdd-e1b1-e5cb-8731-710dc3d0e3a2",
    "GPU-03d91ddd-e1b1-e77e-88b3-4d0dc78cd51e",
    "GPU-03d91edd-e1b1-e931-7c1b-c10db57df9a2",
)
SONAMES = {
    "libcuda": "libcuda.so.1",
    "libcudadebugger": "libcudadebugger.so.1",
    "libnvidia-allocator": "libnvidia-allocator.so.1",
    "libnvidia-cfg": "libnvidia-cfg.so.1",
    "libnvidia-ml": "libnvidia-ml.so.1",
    "libnvidia-nvvm": "libnvidia-nvvm.so.4",
    "libnvidia-opencl": "libnvidia-opencl.so.1",
    "libnvidia-ptxjitcompiler": "libnvidia-ptxjitcompiler.so.1",
}
BINARIES = (
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-smi",
)


def gpu(ordinal: int) -> Gpu:
    return Gpu(
        ordinal=str(ordinal),
        uuid=UUIDS[ordinal],
        minor=ordinal,
        bus_id=f"00000000:{0x17 + ordinal:02X}:00.0",
        name="NVIDIA A100-SXM4-40GB",
        brand="tesla",
        architecture="8.0",
    )


def node(name: str, major: int, minor: int) -> DeviceNode:
    return DeviceNode(f"/dev/{name}", major, minor, 0o666)


MIG_UUIDS = ("MIG-0a8fa9a8-5f2e-5a4e-9a5f-111111111111", "MIG-0a8fa9a8-5f2e-5a4e-9a5f-222222222222")


@pytest.fixture
def divided(host: Host) -> Host:
    """The same machine with its first GPU divided in two."""
    parent = host.gpus[0]
    parts = [
        parent._replace(ordinal=f"0:{slot}", uuid=uuid, instance=Instance(slot + 1, 0))
        for slot, uuid in enumerate(MIG_UUIDS)
    ]
    nodes = {
        uuid: (
            node("nvidia0", 195, 0),
            node(f"nvidia-caps/nvidia-cap{12 + 9 * slot}", 509, 12 + 9 * slot),
            node(f"nvidia-caps/nvidia-cap{13 + 9 * slot}", 509, 13 + 9 * slot),
        )
        for slot, uuid in enumerate(MIG_UUIDS)
    }
    return host._replace(
        gpus=(parent._replace(is_divided=True), *parts, *host.gpus[1:]),
        gpu_nodes=host.gpu_nodes | nodes,
    )


@pytest.fixture
def host() -> Host:
    return Host(
        files=DriverFiles(
            version=VERSION,
            libraries=tuple(
                Library(f"{LIBRARY_DIR}/{name}.so.{VERSION}", soname)
                for name, soname in SONAMES.items()
            ),
            binaries=tuple(f"/usr/bin/{name}" for name in BINARIES),
            firmware=(f"/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin",),
            sockets=(),
        ),
        gpus=tuple(gpu(ordinal) for ordinal in range(4)),
        cuda_version="12.4",
        control_nodes=(
            node("nvidia-modeset", 195, 254),
            node("nvidia-uvm", 510, 0),
            node("nvidia-uvm-tools", 510, 1),
            node("nvidiactl", 195, 255),
        ),
        gpu_nodes={UUIDS[minor]: (node(f"nvidia{minor}", 195, minor),) for minor in range(4)},
        failures={},
    )
