"""libnvidia-ml as it is on a lab host, and Python that uses it in a /dev of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuhost.lab.gpu import build
from gpuhost.lab.gpu.guest.kernel_player.hardware import Gpu, Module, State
from gpuhost.lab.gpu.guest.kernel_player.library import library_text
from gpuhost.lab.gpu.inventory import HostGpus

VERSION = "550.163.01"
CUDA = 12040

UNSHARED = ("unshare", "--user", "--map-root-user", "--mount")
# Nodes as plain files: being able to open one is what counts.
IN_OWN_DEV = """\
set -e
mount -t tmpfs -o mode=755 tmpfs /dev
mkdir -p /dev/nvidia-caps
for node in $NODES; do touch "/dev/$node"; chmod 666 "/dev/$node"; done
[ -z "$CLOSED" ] || chmod 000 "/dev/$CLOSED"
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""


def player_gpus(host: HostGpus) -> list[Gpu]:
    """The GPUs as the kernel player reads them."""
    return [
        Gpu(
            gpu.index,
            gpu.uuid,
            gpu.pci,
            gpu.device_id,
            gpu.subsystem_id,
            dict(gpu.drivers),
            dict(gpu.nvml),
            dict(gpu.mig) if gpu.mig else None,
        )
        for gpu in host.gpus
    ]


def loaded_state(gpus: Sequence[Gpu], version: str = VERSION) -> State:
    """A state with the driver loaded for all of some GPUs."""
    return State(
        modules={"nvidia": Module(version, "Dual MIT/GPL")},
        minors={gpu.uuid: number for number, gpu in enumerate(gpus)},
    )


@dataclass(frozen=True)
class Library:
    """libnvidia-ml in a folder, of a host with GPUs; ``unversioned`` is what it is made from."""

    folder: Path
    unversioned: Path
    host: HostGpus

    @property
    def path(self) -> Path:
        return self.folder / "libnvidia-ml.so.1"

    @property
    def gpus(self) -> list[Gpu]:
        return player_gpus(self.host)

    def write(self, state: State | None, version: str = VERSION, path: Path | None = None) -> None:
        """Make the library anew; with a state, as the kernel player leaves it."""
        target = path or self.path
        build.stamp_library(self.unversioned, target, version, CUDA)
        if state:
            with target.open("ab") as stream:
                stream.write(library_text(state, self.gpus).encode())

    def ask(self, expression: str, nodes: Sequence[str], closed: str = "") -> Any:
        """The value of a Python expression over ``pynvml`` where just these nodes are in /dev.

        ``gpu(i)`` is a handle. A failed call gives the name of its exception.
        """
        program = (
            "import json, pynvml\n"
            "gpu = pynvml.nvmlDeviceGetHandleByIndex\n"
            "try:\n"
            "    pynvml.nvmlInit()\n"
            f"    print(json.dumps({expression}))\n"
            "except pynvml.NVMLError as error:\n"
            "    print(json.dumps(type(error).__name__))\n"
        )
        done = subprocess.run(
            [*UNSHARED, "sh", "-c", IN_OWN_DEV, "sh", sys.executable, "-c", program],
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LD_LIBRARY_PATH": str(self.folder),
                "NODES": " ".join(nodes),
                "CLOSED": closed,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
