"""The lab's large images: with the software itself in them, which computes on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpuhost.lab import images
from gpuhost.lab.images import SYSTEM_PATH, Image, cuda_environment, pytorch

FILES = Path(__file__).parent / "large"
_TORCH = ("python3-torch", "python3-numpy", "libopenblas0-pthread")
PYTHON_FOLDER = "usr/local/lib/python3.13/dist-packages"


@dataclass(frozen=True)
class LargeImage:
    """An image and what is in it besides Python.

    ``packages`` are Debian's with all that they need, ``wheels`` are of PyPI and exactly
    these; ``files`` and ``links`` are by their place in the image, ``writable`` are folders
    that everybody may write to. ``registry`` is the one that upstream publishes it in.
    """

    image: Image
    packages: Sequence[str]
    registry: str = ""
    wheels: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    writable: Sequence[str] = ()

    @property
    def reference(self) -> str:
        """What ``docker pull`` gets it by."""
        return f"{self.registry}{self.image.names[0]}"


LARGE_IMAGES: Mapping[str, LargeImage] = {
    "pytorch": LargeImage(
        pytorch("24.05", "2.4.0a0+07cecf4168", "12.4.1", (470, 525, 535, 545)),
        # Upstream's has git and pip as well, which trainings are built with.
        packages=(*_TORCH, "git", "python3-pip"),
        registry="nvcr.io/",
        wheels=("certifi==2026.10.18",),
        # Which pip reads before anything else; Debian's is made when its package is configured.
        links={"etc/ssl/certs/ca-certificates.crt": f"/{PYTHON_FOLDER}/certifi/cacert.pem"},
    ),
    "torchserve": LargeImage(
        Image(
            names=("pytorch/torchserve:0.12.0-cpu",),
            environment={
                "PATH": SYSTEM_PATH,
                "PYTHONUNBUFFERED": "TRUE",
                "HOME": "/home/model-server",
                "TEMP": "/home/model-server/tmp",
            },
            framework=True,
            run_as={
                "Entrypoint": ["/usr/local/bin/dockerd-entrypoint.sh"],
                "Cmd": ["serve"],
                "User": "1000",
                "WorkingDir": "/home/model-server",
                "ExposedPorts": {f"{port}/tcp": {} for port in (8080, 8081, 8082, 7070, 7071)},
            },
        ),
        packages=(
            *_TORCH,
            "openjdk-21-jre-headless",
            "python3-packaging",
            "python3-pil",
            "python3-psutil",
            "python3-yaml",
        ),
        wheels=("torchserve==0.12.0", "torch-model-archiver==0.12.0", "nvidia-ml-py==13.615.71"),
        files={
            "usr/local/bin/dockerd-entrypoint.sh": FILES / "torchserve_entrypoint.sh",
            "home/model-server/config.properties": FILES / "torchserve.properties",
        },
        links={"usr/bin/java": "/usr/lib/jvm/java-21-openjdk-amd64/bin/java"},
        # Upstream's user has a name, and owns them.
        writable=(
            "home/model-server",
            "home/model-server/tmp",
            "home/model-server/model-store",
        ),
    ),
    # Triton itself, of that release: PyTriton's package has it, with the backend for Python alone.
    "triton": LargeImage(
        Image(
            names=("nvidia/tritonserver:24.10-py3",),
            environment={
                **cuda_environment("12.6.2", (470, 525, 535, 545, 550, 555)),
                "PATH": f"/opt/tritonserver/bin:/usr/local/nvidia/bin:{SYSTEM_PATH}",
                "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,video",
                "NVIDIA_PRODUCT_NAME": "Triton Server",
                "NVIDIA_TRITON_SERVER_VERSION": "24.10",
                "TRITON_SERVER_VERSION": "2.51.0",
            },
            framework=True,
            run_as={"Entrypoint": [], "WorkingDir": "/opt/tritonserver"},
        ),
        packages=(
            "python3-onnxruntime",
            "python3-numpy",
            "libopenblas0-pthread",
            "libpython3.13",
        ),
        registry="nvcr.io/",
        wheels=("nvidia-pytriton==0.7.0",),
        files={
            f"{PYTHON_FOLDER}/pytriton/tritonserver/backends/onnxruntime/model.py": FILES
            / "onnxruntime_backend.py",
        },
        links={
            # Debian's library has the modules built in that Debian does not ship as files.
            f"{PYTHON_FOLDER}/nvidia_pytriton.libs/libpython3-419a3a08.13.so.1.0": (
                "/usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0"
            ),
            "opt/tritonserver": f"/{PYTHON_FOLDER}/pytriton/tritonserver",
            f"{PYTHON_FOLDER}/pytriton/tritonserver/backends/python/triton_python_backend_stub": (
                "../../python_backend_stubs/3.13/triton_python_backend_stub"
            ),
        },
    ),
    # Upstream's is Python's own image and MLflow with all that it needs, nothing else.
    "mlflow": LargeImage(
        Image(
            names=("mlflow/mlflow:v3.17.2",),
            environment={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
            framework=True,
            run_as={"Entrypoint": [], "Cmd": ["python3"], "WorkingDir": "/"},
        ),
        packages=("libstdc++6",),
        registry="ghcr.io/",
        wheels=tuple((FILES / "mlflow.txt").read_text(encoding="utf-8").split()),
    ),
}


def repositories() -> tuple[str, ...]:
    """The names, without tags, that any image of the lab is served under."""
    large = images.repositories([large.image for large in LARGE_IMAGES.values()])
    return tuple(dict.fromkeys((*images.repositories(), *large)))
