from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.parse.cdi import CdiNode, parse_spec
from gpuhost.parse.errors import ParseError

UUIDS = (
    "GPU-03d91bdd-e1b1-e418-7862-7d0dbe980e2e",
    "GPU-03d91cdd-e1b1-e5cb-8731-710dc3d0e3a2",
    "GPU-03d91ddd-e1b1-e77e-88b3-4d0dc78cd51e",
    "GPU-03d91edd-e1b1-e931-7c1b-c10db57df9a2",
)


@pytest.mark.parametrize("toolkit", ["1.17.9", "1.18.2", "1.20.0"])
def test_the_specification_of_a_real_toolkit_is_read_whole(captures: Path, toolkit: str) -> None:
    path = captures / f"nvidia-{toolkit}.yaml"
    spec = parse_spec(path.read_text(), "/var/run/cdi/nvidia.yaml")
    assert spec.kind == "nvidia.com/gpu"
    assert spec.version == "0.5.0"
    assert spec.folder == "/var/run/cdi"
    assert spec.driver_versions == {"550.163.01"}
    devices = {device.name: device.gpu_nodes for device in spec.devices}
    every = tuple(f"/dev/nvidia{minor}" for minor in range(4))
    alone = {str(i): (every[i],) for i in range(4)} | {UUIDS[i]: (every[i],) for i in range(4)}
    assert devices == alone | {"all": every}
    assert {node.path for node in spec.nodes} == {
        "/dev/nvidia-modeset",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidiactl",
    }


def test_every_capture_is_tested(captures: Path) -> None:
    assert {path.stem for path in captures.glob("nvidia-*.yaml")} == {
        "nvidia-1.17.9",
        "nvidia-1.18.2",
        "nvidia-1.20.0",
    }


def test_numbers_of_nodes_are_read_where_a_toolkit_writes_them(captures: Path) -> None:
    old = parse_spec((captures / "nvidia-1.18.2.yaml").read_text(), "old")
    new = parse_spec((captures / "nvidia-1.20.0.yaml").read_text(), "new")
    assert old.devices[0].nodes == (CdiNode("/dev/nvidia0"),)
    # A minor of 0 is left out.
    assert new.devices[0].nodes == (CdiNode("/dev/nvidia0", 195, 0),)
    assert new.devices[1].nodes == (CdiNode("/dev/nvidia1", 195, 1),)
    assert CdiNode("/dev/nvidia-uvm", 510, 0) in new.nodes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "devices: []\n",
        "kind: nvidia.com/gpu\ndevices: [{}]\n",
        "kind: nvidia.com/gpu\ndevices: 7\n",
        "kind: nvidia.com/gpu\ncontainerEdits: [1]\n",
        "kind: nvidia.com/gpu\ndevices: [{name: a, containerEdits: {deviceNodes: [{major: 1}]}}]\n",
        "kind: [unclosed\n",
        "kind: !!python/object/apply:os.system ['true']\n",
    ],
)
def test_what_is_not_a_specification_is_an_error_with_its_path(text: str) -> None:
    with pytest.raises(ParseError, match=r"not a CDI specification \(/etc/cdi/x\.yaml\)"):
        parse_spec(text, "/etc/cdi/x.yaml")


def test_a_specification_that_was_cut_off_loses_devices_or_is_an_error(captures: Path) -> None:
    text = (captures / "nvidia-1.17.9.yaml").read_text()
    with pytest.raises(ParseError):
        parse_spec(text[: len(text) // 2], "/var/run/cdi/nvidia.yaml")


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]*", fullmatch=True)


@given(st.lists(st.tuples(names, st.integers(0, 31)), max_size=8))
def test_json_is_read_as_well_as_yaml(devices: list[tuple[str, int]]) -> None:
    document = {
        "kind": "nvidia.com/gpu",
        "devices": [
            {"name": n, "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{minor}"}]}}
            for n, minor in devices
        ],
    }
    spec = parse_spec(json.dumps(document), "x.json")
    assert [(d.name, d.gpu_nodes) for d in spec.devices] == [
        (name, (f"/dev/nvidia{minor}",)) for name, minor in devices
    ]
