"""Playbooks and inventories to run, a process that can be interrupted, and an SSH server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.engine import DRIVER, SshServer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def playbook(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a playbook; its folder is the test's own."""

    def write(text: str) -> Path:
        path = tmp_path / "playbook.yml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., Path]:
    """Writes an inventory whose hosts are all this machine."""

    def write(*hosts: str) -> Path:
        path = tmp_path / "hosts.ini"
        settings = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
        path.write_text("[all]\n" + "".join(f"{host} {settings}\n" for host in hosts))
        return path

    return write


@pytest.fixture
def driver() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the engine in a process of its own; returns when Ansible is at work in it."""
    started: list[subprocess.Popen[str]] = []

    def start(playbook: Path, inventory: Path, hosts: Sequence[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, playbook, inventory, *hosts],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("started")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    """An SSH server for the user ops."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh client")
    server = SshServer(tmp_path)
    yield server
    server.close()
