from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.docker import (
    differences,
    framework_versions,
    mechanism,
    parse_daemon_json,
    parse_env,
    release,
    tag,
)
from gpuhost.parse.errors import ParseError


@pytest.mark.parametrize("name", ["d2.json", "d3.json", "daemon.json", "prev"])
def test_what_nvidia_ctk_wrote_registers_the_runtime(captures: Path, name: str) -> None:
    settings = parse_daemon_json((captures / "daemon-json-1.18.2" / name).read_text())
    assert settings["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"


def test_what_nvidia_ctk_could_not_read_is_an_error_with_its_place(captures: Path) -> None:
    text = (captures / "daemon-json-1.18.2" / "d4.json").read_text()
    with pytest.raises(ParseError, match="line 1, column"):
        parse_daemon_json(text)


def test_an_empty_file_has_no_settings(captures: Path) -> None:
    assert parse_daemon_json((captures / "daemon-json-1.18.2" / "d5.json").read_text()) == {}


def test_a_daemon_json_that_is_no_object_is_an_error() -> None:
    with pytest.raises(ParseError, match="not an object"):
        parse_daemon_json("[1]")


def test_the_last_of_two_values_in_an_environment_wins() -> None:
    assert parse_env(["A=1", "B=x=y", "A=2", "C"]) == {"A": "2", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("variable", "framework"),
    [
        ("NVIDIA_PYTORCH_VERSION", "pytorch"),
        ("NVIDIA_TENSORFLOW_VERSION", "tensorflow"),
        ("NVIDIA_TRITON_SERVER_VERSION", "triton"),
    ],
)
def test_the_framework_of_an_ngc_image_is_known_by_its_environment(
    variable: str, framework: str
) -> None:
    env = {variable: "26.08", "CUDA_VERSION": "13.0.2", "NVIDIA_REQUIRE_CUDA": "cuda>=9.0"}
    assert framework_versions(env) == {framework: "26.08"}


@pytest.mark.parametrize(
    ("reference", "its_tag", "its_release"),
    [
        ("nvcr.io/nvidia/pytorch:26.08-py3", "26.08-py3", "26.08"),
        ("registry:5000/nvidia/pytorch:25.04-py3@sha256:00", "25.04-py3", "25.04"),
        ("nvidia/cuda:13.0.3-base-ubuntu24.04", "13.0.3-base-ubuntu24.04", None),
        ("registry:5000/nvidia/pytorch", "", None),
        ("pytorch@sha256:00", "", None),
    ],
)
def test_tag_and_release_of_a_reference(
    reference: str, its_tag: str, its_release: str | None
) -> None:
    assert tag(reference) == its_tag
    assert release(reference) == its_release


def test_void_inside_means_that_cdi_served_the_request() -> None:
    assert mechanism("gpus", "void") == "CDI"
    assert mechanism("runtime", "void") == "CDI"
    assert mechanism("gpus", "0") == "hook"
    assert mechanism("runtime", "all") == "hook"
    assert mechanism("gpus", None) == "unknown"
    assert mechanism("cdi", "all") == "NVIDIA_VISIBLE_DEVICES=all"


def test_differences_are_named_by_their_place() -> None:
    declared = {"log-opts": {"max-size": "10m", "max-file": "3"}, "features": {"cdi": True}}
    found = {"log-opts": {"max-size": "5m", "max-file": "3"}, "foreign": 1}
    assert list(differences(declared, found)) == [
        ("log-opts.max-size", "10m", "5m"),
        ("features", {"cdi": True}, None),
    ]


def test_true_is_not_one() -> None:
    assert list(differences({"a": True}, {"a": 1})) == [("a", True, 1)]


json_values = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


@given(objects, objects)
def test_foreign_keys_are_no_difference(declared: dict[str, Any], foreign: dict[str, Any]) -> None:
    assert list(differences(declared, {**foreign, **declared})) == []


@given(objects, st.data())
def test_a_missing_key_is_a_difference(declared: dict[str, Any], data: st.DataObject) -> None:
    if not declared:
        return
    gone = data.draw(st.sampled_from(sorted(declared)))
    found = {key: value for key, value in declared.items() if key != gone}
    assert list(differences(declared, found)) == [(gone, declared[gone], None)]
