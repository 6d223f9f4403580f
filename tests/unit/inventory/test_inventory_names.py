"""Names read without Ansible are those that Ansible reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuhost import inventory
from gpuhost.inventory_names import expand, names

YAML = """\
gpu_hosts:
  children:
    training:
      hosts:
        gpu-[01:12:5]:
        rack-[a:c]-[1:2]: {ansible_host: 192.0.2.1}
      vars:
        registry_login_registries:
          - {registry: nvcr.io, username: u, password: "{{ secret }}"}
    empty:
  hosts:
    solo:
"""
INI = """\
# a comment
lone ansible_host=192.0.2.9

[training]
gpu-[8:11]   gpuhost_gpu_count=8  # beside it
far.example.com:2222

[training:vars]
ansible_user=ops

[all_gpus:children]
training
"""


@pytest.mark.parametrize(
    ("file", "text"), [("hosts.yml", YAML), ("hosts", INI), ("hosts.ini", INI)], ids=str
)
def test_the_names_are_those_that_ansible_reads(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text)
    read = inventory.load(path)
    hosts, groups = names(path)
    assert sorted(hosts) == sorted(read.hosts)
    assert set(groups) == set(read.groups) - {"all", "ungrouped"}


def test_a_folder_has_the_names_of_its_files_but_not_of_its_variables(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("ansible_user: ops\n")
    (tmp_path / "hosts.yml").write_text(YAML)
    (tmp_path / "more").write_text("[more]\nextra-01\n")
    (tmp_path / "known_hosts").write_text("192.0.2.1 ssh-ed25519 AAAA\n")
    hosts, groups = names(tmp_path)
    assert "extra-01" in hosts
    assert "more" in groups
    assert not {"ansible_user", "192.0.2.1", "all"} & {*hosts, *groups}


def test_no_script_is_run_and_no_plugin_asked(tmp_path: Path) -> None:
    script = tmp_path / "fleet"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    (tmp_path / "cloud.yml").write_text("plugin: amazon.aws.aws_ec2\nregions: [eu]\n")
    assert names(tmp_path) == ([], [])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["a: [", "\tx: y", "- a list", "{}", "gpu_hosts: {hosts: 3}"])
def test_a_file_that_is_no_inventory_has_no_hosts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    assert names(path)[0] == []


def test_what_is_vaulted_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("gpu:\n  hosts: {gpu-01: {x: !vault abc, y: !unsafe '{{'}}\n")
    assert names(path) == (["gpu-01"], ["gpu"])


@pytest.mark.parametrize("name", ["gpu-[1:2", "gpu-[a]", "[?:b]", "gpu-[2:1]"])
def test_a_range_that_is_none_does_no_harm(name: str) -> None:
    list(expand(name))
