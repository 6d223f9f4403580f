"""Other releases, GPU counts and models than the usual host's, each from bare to proven."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ground import silent
from support.lab import Lab

from gpuhost import lab as room


@pytest.fixture(
    params=[("debian13", "8", "H100"), ("debian12", "1", "T4"), ("debian13", "2", "B200")],
    ids="-".join,
)
def bare(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """A host that nothing of gpuhost's has touched."""
    release, gpus, model = request.param
    name = lab.up("other", "--os", release, "--gpus", gpus, "--model", model)
    yield name
    room.down([name], silent)


def test_a_bare_host_is_provisioned_and_passes_every_check(lab: Lab, bare: str) -> None:
    ran = lab.ok("provision", bare, "--yes", "--json")
    (host,) = ran.document["hosts"]
    assert host["verdict"] == "PASS"
    assert {check["verdict"] for check in host["checks"]} <= {"PASS", "SKIP"}
    assert lab.ok("plan", bare).stdout == f"{bare}: nothing to change\n"
