"""Where a host belongs in an inventory, and inventories to which none can be added."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gpuhost.errors import DesiredStateError, InventoryError, UsageError
from gpuhost.onboard import spot
from gpuhost.settings import Settings

SITE = """\
gpu_hosts:
  children:
    training:
      hosts:
        gpu-01: {ansible_host: 192.0.2.11}
    idle:
  vars:
    ansible_user: ops
    gpuhost_gpu_count: 8
    ansible_ssh_common_args: -o UserKnownHostsFile={{ inventory_dir }}/known_hosts
"""
Write = Callable[[str], Settings]


@pytest.fixture
def inventory(tmp_path: Path) -> Write:
    """Writes inventories/site/hosts.yml of a project; its settings."""
    path = tmp_path / "inventories" / "site" / "hosts.yml"
    path.parent.mkdir(parents=True)

    def write(text: str) -> Settings:
        path.write_text(text)
        return Settings(tmp_path, None, tmp_path / "state", 5)

    return write


def test_a_host_gets_what_its_group_declares(inventory: Write, tmp_path: Path) -> None:
    folder = tmp_path / "inventories" / "site"
    (folder / "group_vars").mkdir()
    (folder / "group_vars" / "training.yml").write_text("gpuhost_gpu_model: H100\n")
    found = spot.find(inventory(SITE), "gpu-07", "training")
    assert found.path == ("gpu_hosts", "children", "training", "hosts")
    assert found.known_hosts == folder / "known_hosts"
    assert not found.taken
    variables = found.host.variables
    assert variables["ansible_user"] == "ops"
    assert variables["gpuhost_gpu_count"] == 8
    assert variables["gpuhost_gpu_model"] == "H100"
    assert variables["ansible_ssh_common_args"].endswith(f"={folder}/known_hosts")


def test_the_usual_group_is_taken_where_none_is_named(inventory: Write) -> None:
    assert spot.find(inventory(SITE), "gpu-07", None).path == ("gpu_hosts", "hosts")
    assert spot.find(inventory("racks:\n  hosts:\n    a:\n"), "gpu-07", None).group == "racks"


def test_an_inventory_without_hosts_can_get_its_first(inventory: Write) -> None:
    found = spot.find(inventory("gpu_hosts:\n  hosts:\n"), "gpu-07", None)
    found.write((), "gpu-07", {"ansible_host": "192.0.2.7"})
    assert found.file.read_text() == (
        "gpu_hosts:\n  hosts:\n    gpu-07:\n      ansible_host: 192.0.2.7\n"
    )
    assert spot.find(inventory(found.file.read_text()), "gpu-07", None).taken


def test_the_file_keeps_its_mode_and_a_link_stays_one(inventory: Write, tmp_path: Path) -> None:
    settings = inventory(SITE)
    link = tmp_path / "inventories" / "site" / "hosts.yml"
    real = link.rename(tmp_path / "real.yml")
    real.chmod(0o640)
    link.symlink_to(real)
    spot.find(settings, "gpu-07", "idle").write((), "gpu-07", {"ansible_host": "192.0.2.7"})
    assert link.is_symlink()
    assert "192.0.2.7" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "group", "words"),
    [
        ("gpu-07", "trainign", "Did you mean 'training'"),
        ("gpu-07", "all", "no such group"),
        ("gpu[1:3]", "training", "cannot be the name"),
        ("-x", "training", "cannot be the name"),
        ("training", "training", "is a group"),
    ],
)
def test_names_and_groups_that_cannot_be_are_refused(
    inventory: Write, name: str, group: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("[", r"\[")) as raised:
        spot.find(inventory(SITE), name, group)
    assert words in f"{raised.value.message}"


def test_without_a_group_of_the_usual_name_it_has_to_be_said(inventory: Write) -> None:
    with pytest.raises(UsageError, match="Which group") as raised:
        spot.find(inventory("a:\n  hosts: {x: }\nb:\n  hosts: {y: }\n"), "gpu-07", None)
    assert "--group, one of: a, b" in raised.value.remedy


def test_of_several_inventories_one_has_to_be_named(inventory: Write, tmp_path: Path) -> None:
    settings = inventory(SITE)
    (tmp_path / "inventories" / "other.yml").write_text(SITE)
    with pytest.raises(UsageError, match="several inventories") as raised:
        spot.find(settings, "gpu-07", "training")
    assert "-i PATH" in raised.value.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpu_hosts: [\n", "cannot read the inventory"),
        ("[gpu_hosts]\ngpu-01 ansible_host=192.0.2.1\n", "in no YAML file"),
    ],
)
def test_an_inventory_that_is_not_yaml_is_refused(inventory: Write, text: str, words: str) -> None:
    with pytest.raises(InventoryError, match=words):
        spot.find(inventory(text), "gpu-07", "gpu_hosts")


def test_an_inventory_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("[gpu_hosts]\ngpu-01 ansible_host=192.0.2.1\n")
    settings = Settings(tmp_path, path, tmp_path / "state", 5)
    with pytest.raises(InventoryError, match="is no YAML inventory"):
        spot.find(settings, "gpu-07", "gpu_hosts")


def test_a_group_that_is_in_no_yaml_file_is_refused(inventory: Write, tmp_path: Path) -> None:
    settings = inventory(SITE)
    (tmp_path / "inventories" / "site" / "more").write_text("[racks]\nr1 ansible_host=192.0.2.9\n")
    with pytest.raises(InventoryError, match="group racks is in no YAML file"):
        spot.find(settings, "gpu-07", "racks")


def test_an_inventory_that_cannot_be_written_is_refused_at_once(
    inventory: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = inventory(SITE)
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "hosts.yml")
    with pytest.raises(InventoryError, match=r"hosts.yml cannot be written"):
        spot.find(settings, "gpu-07", "training")


def test_what_a_group_declares_wrongly_is_said_before_anything_is_done(inventory: Write) -> None:
    settings = inventory(SITE.replace("gpuhost_gpu_count: 8", "gpuhost_gpu_cuont: 8"))
    with pytest.raises(DesiredStateError, match="gpuhost_gpu_cuont"):
        spot.find(settings, "gpu-07", "training")


def test_a_group_written_as_an_alias_is_left_alone(inventory: Write) -> None:
    text = "a:\n  hosts: &hosts\n    x:\nb:\n  hosts: *hosts\n"
    found = spot.find(inventory(text), "gpu-07", "b")
    with pytest.raises(InventoryError, match="Nothing can be added to the group b"):
        found.write((), "gpu-07", {"ansible_host": "192.0.2.7"})
    assert found.file.read_text() == text
    assert [path.name for path in found.file.parent.iterdir()] == ["hosts.yml"]
