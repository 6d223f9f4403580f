"""A host to log in to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.login_host import LoginHost

from gpuhost.onboard.host_key import Place


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoginHost]:
    """A host that lets ops in by password, and by key once one is installed."""
    folder = tmp_path / "server"
    folder.mkdir()
    host = LoginHost(folder)
    yield host
    host.close()


@pytest.fixture
def place(server: LoginHost) -> Place:
    return Place("127.0.0.1", server.port)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No agent and no keys of whoever runs the tests."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
