"""Layouts of divided GPUs against what is found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml
from support.evidence import healthy_evidence

from gpuhost.parse.mig import division, expected, found, problems

CONFIG = yaml.safe_load("""
all-whole:
- devices: all
  mig-enabled: false
mixed:
- devices: [0, 2]
  mig-enabled: true
  mig-devices: {3g.20gb: 1, 1g.5gb: 2}
- devices: [1]
  mig-enabled: false
by-model:
- device-filter: ["0x20B010DE", "0x233010DE"]
  devices: all
  mig-enabled: true
  mig-devices: {1g.5gb: 7}
other-model:
- device-filter: "0x233010DE"
  devices: all
  mig-enabled: true
  mig-devices: {1g.10gb: 7}
""")
SEVEN = Counter({"1g.5gb": 7})


def section(evidence: Any, name: str) -> Any:
    return evidence["sections"][name]["data"]


@pytest.mark.parametrize(
    ("layout", "wanted"),
    [
        ("all-whole", {0: None, 1: None}),
        ("mixed", {0: Counter({"3g.20gb": 1, "1g.5gb": 2}), 1: None}),
        ("by-model", {0: SEVEN, 1: SEVEN}),
        ("other-model", {}),
    ],
)
def test_a_layout_speaks_of_gpus_by_index_and_by_model(layout: str, wanted: object) -> None:
    evidence = healthy_evidence(2)
    for device in section(evidence, "pci")["devices"]:
        device["device"] = "0x20b0"
    gpus = section(evidence, "nvml")["gpus"]
    assert expected(CONFIG[layout], gpus, section(evidence, "pci")["devices"]) == wanted


def test_what_is_found_is_counted_by_profile() -> None:
    first, second = section(healthy_evidence(2, {0: 3}), "nvml")["gpus"]
    assert found(first) == Counter({"1g.5gb": 3})
    assert found(second) is None
    assert division(found(first)) == "3 × 1g.5gb"
    assert division(None) == "whole"
    assert division(Counter()) == "divided, without MIG devices"


@pytest.mark.parametrize(
    ("layout", "config", "words"),
    [
        ("", {}, ""),
        ("mixed", CONFIG, ""),
        ("halves", {}, "nvidia_mig_config has no layout"),
        ("halves", CONFIG, "nvidia_mig_config has all-whole, by-model, mixed, other-model"),
        ("a", {"a": []}, "no list of entries"),
        ("a", {"a": ["all"]}, "no dictionary"),
        ("a", {"a": [{"devices": "some", "mig-enabled": False}]}, "needs devices"),
        ("a", {"a": [{"devices": [0]}]}, "needs mig-enabled"),
        ("a", {"a": [{"devices": "all", "mig-enabled": True}]}, "needs mig-devices"),
        (
            "a",
            {"a": [{"devices": "all", "mig-enabled": False, "mig-devices": {"1g.5gb": 1}}]},
            "without mig-enabled",
        ),
    ],
)
def test_what_is_wrong_with_a_layout_is_said(layout: str, config: Any, words: str) -> None:
    said = problems(layout, config)
    assert words in " ".join(said)
    assert bool(said) == bool(words)
