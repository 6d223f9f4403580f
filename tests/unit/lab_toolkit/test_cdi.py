"""CDI specifications: written as upstream writes them, and read from the spec folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gpuhost.lab.toolkit.standin import cdi, fault, yamlio
from gpuhost.lab.toolkit.standin.ctk import specification_of
from gpuhost.lab.toolkit.standin.host import Host
from gpuhost.lab.toolkit.standin.release import RELEASES, named

OLD, NEW = RELEASES


@pytest.mark.parametrize(
    ("version", "capture"), [("1.20.0", "nvidia-1.20.0.yaml"), ("1.19.1", "nvidia-1.18.2.yaml")]
)
def test_the_specification_is_upstreams_to_the_byte(
    host: Host, captures: Path, version: str, capture: str
) -> None:
    specification = cdi.specification(host, named(version))

    assert yamlio.dump(specification) == (captures / capture).read_text()


def test_a_socket_of_the_persistence_daemon_comes_first_and_stays_writable(host: Host) -> None:
    socket = "/run/nvidia-persistenced/socket"
    files = host.files._replace(sockets=(socket,))

    mounts = cdi.common_edits(host._replace(files=files), NEW, cdi.CDI_HOOK)["mounts"]

    assert mounts[0]["hostPath"] == socket
    assert "ro" not in mounts[0]["options"]


def test_a_host_without_gpus_has_no_device_called_all(host: Host) -> None:
    bare = host._replace(gpus=(), gpu_nodes={})

    assert cdi.specification(bare, NEW)["devices"] == []


def test_a_divided_gpu_is_named_by_its_mig_devices_and_not_whole(divided: Host) -> None:
    devices = {d["name"]: d for d in cdi.specification(divided, NEW)["devices"]}
    (parent, first, *_) = divided.gpus
    assert {"0:0", "0:1", first.uuid, "1", "all"} <= set(devices)
    assert {"0", parent.uuid}.isdisjoint(devices)
    nodes = [node["path"] for node in devices["0:1"]["containerEdits"]["deviceNodes"]]
    caps = [f"/dev/nvidia-caps/nvidia-cap{minor}" for minor in (21, 22)]
    assert nodes == ["/dev/nvidia0", *caps]
    every = [node["path"] for node in devices["all"]["containerEdits"]["deviceNodes"]]
    assert len(every) == len(set(every)) == 4 + 4


def test_without_libcuda_and_the_allocator_nothing_refers_to_them(host: Host) -> None:
    kept = tuple(lib for lib in host.files.libraries if "libnvidia-ml" in lib.path)
    files = host.files._replace(libraries=kept)

    text = yamlio.dump(cdi.specification(host._replace(files=files), NEW))

    assert "libcuda" not in text.lower()
    assert "gbm" not in text


# ------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("name", ["nvidia-1.17.9.yaml", "nvidia-1.18.2.yaml", "nvidia-1.20.0.yaml"])
def test_real_specifications_are_read_as_any_yaml_reader_does(captures: Path, name: str) -> None:
    text = (captures / name).read_text()

    assert yamlio.load(text) == yaml.safe_load(text)


@pytest.fixture
def spec_dir(tmp_path: Path, host: Host) -> Path:
    cdi.write(yamlio.dump(cdi.specification(host, NEW)), tmp_path / "nvidia.yaml")
    return tmp_path


def test_a_written_specification_is_readable_by_everyone(spec_dir: Path) -> None:
    path = spec_dir / "nvidia.yaml"

    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in spec_dir.iterdir()] == ["nvidia.yaml"]


def test_the_registry_lists_every_device_sorted(spec_dir: Path, host: Host) -> None:
    names = cdi.read_registry([spec_dir]).names()

    assert names == sorted(names)
    assert names[:2] == ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
    assert f"nvidia.com/gpu={host.gpus[3].uuid}" in names
    assert names[-1] == "nvidia.com/gpu=all"


def test_a_folder_that_does_not_exist_has_no_devices(tmp_path: Path) -> None:
    registry = cdi.read_registry([tmp_path / "missing"])

    assert registry.names() == []
    assert registry.errors == {}


def test_a_broken_file_is_an_error_beside_the_others(spec_dir: Path) -> None:
    (spec_dir / "broken.yaml").write_text("kind: [unclosed\n")
    (spec_dir / "other.json").write_text('{"devices": []}')

    registry = cdi.read_registry([spec_dir])

    assert sorted(Path(path).name for path in registry.errors) == ["broken.yaml", "other.json"]
    assert "nvidia.com/gpu=0" in registry.names()


def test_names_that_no_specification_has_are_all_named(spec_dir: Path) -> None:
    registry = cdi.read_registry([spec_dir])

    with pytest.raises(cdi.UnresolvableError, match=r"^nvidia.com/gpu=9, other.com/x=1$"):
        registry.edits(["nvidia.com/gpu=0", "nvidia.com/gpu=9", "other.com/x=1"])


def test_two_devices_of_a_file_bring_its_common_edits_once(spec_dir: Path) -> None:
    edits = cdi.read_registry([spec_dir]).edits(["nvidia.com/gpu=0", "nvidia.com/gpu=2"])

    assert [_paths(edit) for edit in edits[1:]] == [["/dev/nvidia0"], ["/dev/nvidia2"]]
    assert "mounts" in edits[0]


def test_a_later_folder_wins(spec_dir: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "mine.json").write_text(
        '{"kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": '
        '{"deviceNodes": [{"path": "/dev/mine"}]}}]}'
    )

    edits = cdi.read_registry([spec_dir, later]).edits(["nvidia.com/gpu=0"])

    assert _paths(edits[-1]) == ["/dev/mine"]


# --------------------------------------------------------------------------------- faults


def _paths(edits: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits["deviceNodes"]]


def nodes_of(host: Host, active_fault: str) -> dict[str, list[str]]:
    specification = specification_of(host, NEW, active_fault)
    return {device["name"]: _paths(device["containerEdits"]) for device in specification["devices"]}


def test_a_leaking_toolkit_writes_one_gpu_too_many_into_the_specification(host: Host) -> None:
    nodes = nodes_of(host, fault.LEAK_ONE)

    assert nodes["1"] == nodes[host.gpus[1].uuid] == ["/dev/nvidia1", "/dev/nvidia0"]
    assert len(nodes["all"]) == len(host.gpus)


def test_a_swapping_toolkit_writes_the_wrong_gpu_into_the_specification(host: Host) -> None:
    nodes = nodes_of(host, fault.SWAP)

    assert nodes["0"] == ["/dev/nvidia1"]
    assert nodes["3"] == ["/dev/nvidia0"]


def test_a_toolkit_that_serves_bad_indices_has_them_in_the_specification(host: Host) -> None:
    nodes = nodes_of(host, fault.ALL_FOR_BAD_INDEX)

    assert nodes["4"] == nodes["99"] == nodes["all"]


def test_a_stale_specification_is_of_an_earlier_driver_and_lacks_the_last_gpu(host: Host) -> None:
    text = yamlio.dump(specification_of(host, NEW, fault.STALE_CDI))

    assert host.files.version not in text
    assert "libcuda.so.550.163.00" in text
    assert "/dev/nvidia2" in text
    assert "/dev/nvidia3" not in text
