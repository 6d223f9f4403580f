"""The suite full on a real host, with a real PyTorch that computes on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.lab import Lab

CHECKS = ("container.compute", "container.throughput")


@pytest.mark.slow
def test_pytorch_computes_in_the_framework_image_and_says_that_it_was_not_on_a_gpu(
    lab: Lab, provisioned: str
) -> None:
    reference = lab.ok("lab", "image", "pytorch").stdout.split()[4].rstrip(".")
    with lab.variables(provisioned, {"gpuhost_ngc_image": reference}):
        verified = lab.verify(provisioned, *[word for name in CHECKS for word in ("--check", name)])
    assert verified.code == 3, verified.results
    for check in CHECKS:
        found = verified.results[check]
        assert found["verdict"] == "SKIP", found
        assert found["summary"].startswith("CUDA not exercised: PyTorch 2."), found["summary"]
        assert "the CPU computed exactly" in found["summary"]
    evidence = json.loads(Path(verified.host["evidence_path"]).read_text())
    (device,) = json.loads(evidence["sections"]["throughput"]["data"]["stdout"])["devices"]
    assert device["images_per_s"] > 0
    assert evidence["sections"]["containers"]["data"]["left_behind"] == []
    assert lab.exec(provisioned, ["docker", "ps", "-aq"]) == ""
