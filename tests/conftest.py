"""What every room's tests share."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# In a new clone the first text that is drawn waits for Hypothesis to tabulate Unicode, and the
# machine may be shared: how long a draw takes says nothing about the code under test.
settings.register_profile(
    "gpuhost", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("gpuhost")

CAPTURES = Path(__file__).parents[2] / "shared" / "captures"


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded outputs of real machines, which lies beside the project."""
    if not CAPTURES.is_dir():
        pytest.skip(f"there are no captures in {CAPTURES}")
    return CAPTURES


@pytest.fixture
def own_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files that nothing else writes to, with a short name."""
    del tmp_path  # Asked for first, or pytest would put its own folders into this one.
    folder = Path(f"/tmp/t{os.getpid()}-{time.monotonic_ns() % 10**8}")
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield folder
    shutil.rmtree(folder)
