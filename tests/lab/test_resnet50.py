"""The workload resnet50 on the lab's CPU: it trains, together too, and claims no speed of a GPU."""

from __future__ import annotations

import pytest
from support.lab import Lab

SMALL = ("batch=2", "pixels=32", "seconds=0.1", "processes=2")


@pytest.mark.slow
def test_it_trains_alone_and_together_and_says_that_cuda_was_not_exercised(
    lab: Lab, provisioned: str
) -> None:
    image = lab.ok("lab", "image", "pytorch").stdout.split()[4].rstrip(".")
    settings = [word for one in (f"image={image}", *SMALL) for word in ("--set", one)]
    ran = lab.run("workload", "verify", provisioned, "resnet50", *settings, "--json", "--quiet")
    (report,) = ran.document["hosts"]
    found = {r["check"].rpartition(".")[2]: r for r in report["checks"]}
    assert ran.code == 0, found
    assert {name: result["verdict"] for name, result in found.items()} == {
        "starts": "PASS",
        "it_trains_on_one": "PASS",
        "it_trains_on_all_together": "PASS",
        "images_per_second": "SKIP",
        "scaling_efficiency": "SKIP",
    }
    assert "CUDA not exercised" in found["images_per_second"]["summary"]
