"""A compiled management library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.lab_gpu import UNSHARED, Library, loaded_state

from gpuhost.lab.gpu import build
from gpuhost.lab.gpu.inventory import plan


@pytest.fixture(scope="session")
def unversioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libnvidia-ml as it comes from the compiler."""
    if not (shutil.which("gcc") and shutil.which("nm")):
        pytest.skip("needs gcc and binutils")
    return build.management_library(tmp_path_factory.mktemp("native") / "libnvidia-ml.so")


@pytest.fixture
def library(unversioned: Path, tmp_path: Path) -> Library:
    """The library of a host with three A100 and the driver loaded."""
    if subprocess.run([*UNSHARED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow user namespaces")
    found = Library(tmp_path, unversioned, plan(host="lab-01", gpus=3, model="A100"))
    found.write(loaded_state(found.gpus))
    return found
