"""What every room's tests share."""

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
