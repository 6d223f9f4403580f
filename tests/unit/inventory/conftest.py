"""Inventories and role declarations to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gpuhost import inventory

DECLARATIONS: Mapping[str, str] = {
    "preflight": """
        preflight_free_mib: {type: dict, default: {}}
        """,
    "nvidia_driver": """
        nvidia_driver_branch: {type: str, default: "580"}
        nvidia_driver_version: {type: str, default: ""}
        nvidia_driver_modules: {type: str, default: auto, choices: [auto, open, proprietary]}
        nvidia_driver_reboot: {type: bool, default: true}
        """,
    "nvidia_mig": """
        nvidia_mig_layout: {type: str, default: ""}
        nvidia_mig_config: {type: dict, default: {}}
        """,
    "docker_ce": """
        docker_ce_version: {type: str, default: ""}
        docker_ce_daemon_config: {type: dict, default: {}}
        """,
    "nvidia_container_toolkit": """
        nvidia_container_toolkit_version: {type: str, default: ""}
        """,
    "docker_users": """
        docker_users_names: {type: list, elements: str, default: []}
        """,
    "gpuhost": """
        gpuhost_gpu_count: {type: int}
        gpuhost_gpu_model: {type: str}
        gpuhost_gpu_uuids: {type: list, elements: str, default: []}
        gpuhost_cuda_image: {type: str, default: "nvidia/cuda:13"}
        gpuhost_ngc_image: {type: str, default: "nvcr.io/nvidia/pytorch:26"}
        gpuhost_workloads: {type: dict, default: {}}
        gpuhost_images_per_second: {type: float}
        gpuhost_images_per_second_tolerance: {type: int, default: 10}
        gpuhost_trial_timeout: {type: int, default: 61}
        gpuhost_trial_parallel: {type: int, default: 5}
        gpuhost_pull_timeout: {type: int, default: 1801}
        gpuhost_http_proxy: {type: str, default: ""}
        gpuhost_https_proxy: {type: str, default: ""}
        gpuhost_no_proxy: {type: str, default: ""}
        gpuhost_drained: {type: bool, default: false}
        gpuhost_drained_reason: {type: str, default: ""}
        """,
    "registry_login": """
        registry_login_registries: {type: list, elements: dict, default: [], no_log: true}
        """,
}


def write_roles(folder: Path, declarations: Mapping[str, str]) -> Path:
    """A folder of roles that declare variables and do nothing."""
    for role, options in declarations.items():
        path = folder / role / "meta" / "argument_specs.yml"
        path.parent.mkdir(parents=True)
        path.write_text(f"argument_specs:\n  main:\n    options:\n{options}\n")
    return folder


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Declarations of the tests' own in place of those of the roles."""
    playbooks = tmp_path / "playbooks"
    roles = write_roles(playbooks / "roles", DECLARATIONS)
    monkeypatch.setattr("gpuhost.ansible_env.playbooks_dir", lambda: playbooks)
    inventory.declared.cache_clear()
    yield roles
    inventory.declared.cache_clear()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file of an inventory, named relative to the test's folder."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file
