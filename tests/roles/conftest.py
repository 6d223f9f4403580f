"""What the tests of the roles share."""

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def python_of_hosts() -> str:
    """An interpreter of the oldest Python that hosts may have, 3.9."""
    candidates = ["python3.9", *map(str, Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))]
    for candidate in candidates:
        # A pyenv shim can be found and still not run.
        if (
            shutil.which(candidate)
            and not subprocess.run([candidate, "-V"], check=False).returncode
        ):
            return candidate
    pytest.skip("there is no Python 3.9 here")
