from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpuhost import cli, local
from gpuhost.errors import ExitCode, ProbeError
from gpuhost.settings import Settings
from gpuhost.ui import Ui


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, None, tmp_path / "state", 10)


def test_this_machine_is_read_with_neither_ssh_nor_ansible(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpuhost.engine.run", lambda *_, **__: pytest.fail("ran Ansible"))
    report = local.verify_here(settings, Ui(), names=("host.os", "gpu.count"))
    (host,) = report.hosts
    assert host.host == "localhost"
    assert [result.check for result in host.results] == ["host.os", "gpu.count"]
    assert host.facts["kernel"] == os.uname().release
    assert (settings.runs_dir / report.run_id / "evidence" / "localhost.json").exists()


def test_what_an_inventory_says_of_localhost_is_held_against_it(settings: Settings) -> None:
    folder = settings.project / "inventories"
    folder.mkdir()
    (folder / "site.ini").write_text("localhost gpuhost_gpu_count=3\n")
    assert local.declaration(settings).gpu_count == 3


def test_where_no_inventory_knows_localhost_only_images_and_limits_hold(
    settings: Settings,
) -> None:
    declared = local.declaration(settings)
    assert declared.cuda_image
    assert (declared.driver_branch, declared.gpu_count, declared.docker_users) == ("", None, ())


def test_a_probe_that_ends_without_evidence_is_an_error_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "probe.py"
    broken.write_text("raise SystemExit('no luck')")
    monkeypatch.setattr("gpuhost.probe_archive.build", lambda: broken)
    with pytest.raises(ProbeError, match="no luck"):
        local.read({})  # type: ignore[typeddict-item]


def test_the_command_takes_localhost_for_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPUHOST_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert cli.run(["verify", "localhost", "--quiet", "--check", "host.os"]) in (
        ExitCode.OK,
        ExitCode.FAILED,
    )
