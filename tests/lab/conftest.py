"""A lab of the tests' own, beside whatever lab runs on this machine, removed in the end.

What was built (base systems, packages, images) is shared through the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ground import own_lab
from support.lab import PROJECT, Lab
from testinfra.host import Host


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a lab."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The tests' lab, without a host yet; skipped with the reason where it cannot be."""
    project = tmp_path_factory.mktemp("project")
    (project / "inventories").mkdir()
    with own_lab(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(project / "state"))
        patch.setenv("PYTHONPATH", str(PROJECT))
        yield Lab(project)


@pytest.fixture(scope="session")
def provisioned(lab: Lab) -> str:
    """A Debian 12 host with four GPUs that gpuhost provisioned from bare."""
    name = lab.up("lab-01", "--gpus", "4")
    lab.ok("provision", name, "--yes")
    return name


@pytest.fixture(scope="session")
def host(lab: Lab, provisioned: str) -> Host:
    """That host, as an independent observer sees it."""
    return lab.testinfra(provisioned)
