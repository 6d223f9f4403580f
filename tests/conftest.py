"""What every room's tests share."""

from pathlib import Path

import pytest

CAPTURES = Path(__file__).parents[2] / "shared" / "captures"


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded outputs of real machines, which lies beside the project."""
    if not CAPTURES.is_dir():
        pytest.skip(f"there are no captures in {CAPTURES}")
    return CAPTURES
