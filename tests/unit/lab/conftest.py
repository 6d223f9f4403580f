"""A lab in which nothing runs."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from gpuhost.lab.settings import LabSettings


@pytest.fixture
def where(tmp_path: Path) -> LabSettings:
    """Settings of a lab of this test's own."""
    return LabSettings(tmp_path / "cache", tmp_path / "state", IPv4Network("198.18.66.0/24"))
