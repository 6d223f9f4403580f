"""One host's report from what was read of it."""

from __future__ import annotations

from typing import Any

from support.evidence import healthy_desired, healthy_evidence

from gpuhost.verify import judge_host


def test_remedies_name_the_host_so_that_they_can_be_pasted() -> None:
    evidence = healthy_evidence()
    driver: Any = evidence["sections"]["driver"]["data"]
    driver.update(loaded_version=None, loaded_text=None, on_disk_version=None)
    results = judge_host("gpu-07", evidence, healthy_desired()).results
    remedies = [result.remedy for result in results]
    assert any("gpuhost provision gpu-07" in remedy for remedy in remedies)
    assert not any("<host>" in remedy for remedy in remedies)
