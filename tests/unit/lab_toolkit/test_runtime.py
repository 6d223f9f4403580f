"""nvidia-container-runtime beyond the matrix: modes, rights, refusals and where they are told."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gpuhost.lab.toolkit.standin import config, fault, nvml, runtime
from gpuhost.lab.toolkit.standin.host import DriverMissingError, Host
from gpuhost.lab.toolkit.standin.release import RELEASES

OLD, NEW = RELEASES
CREATE = ["nvidia-container-runtime", "--log", "LOG", "--log-format", "json", "create", "--bundle"]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return config.read(tmp_path / "none.toml")


def container(*env: str, **process: Any) -> dict[str, Any]:
    return {"process": {"env": list(env), **process}}


def devices(spec: dict[str, Any]) -> list[str]:
    return [node["path"] for node in spec.get("linux", {}).get("devices", [])]


def modified(
    host: Host, settings: dict[str, Any], spec: dict[str, Any], fault_name: str = ""
) -> Any:
    runtime.modify(spec, settings, NEW, lambda: host, fault_name)
    return spec


def test_the_device_cgroup_lets_through_what_is_injected_and_nothing_more(
    host: Host, settings: dict[str, Any]
) -> None:
    spec = modified(host, settings, container("NVIDIA_VISIBLE_DEVICES=2"))

    rules = spec["linux"]["resources"]["devices"]
    assert (195, 2) in {(rule["major"], rule["minor"]) for rule in rules}
    assert not {(195, 0), (195, 1), (195, 3)} & {(r["major"], r["minor"]) for r in rules}


def test_a_users_ids_are_given_to_the_nodes(host: Host, settings: dict[str, Any]) -> None:
    spec = container("NVIDIA_VISIBLE_DEVICES=0", user={"uid": 1000, "gid": 0})

    node = modified(host, settings, spec)["linux"]["devices"][0]

    assert node["uid"] == 1000
    assert "gid" not in node


def test_mounts_are_ordered_so_that_parents_come_first(
    host: Host, settings: dict[str, Any]
) -> None:
    spec = container("NVIDIA_VISIBLE_DEVICES=0")
    spec["mounts"] = [{"destination": "/proc"}, {"destination": "/usr/lib/x86_64-linux-gnu/a/b/c"}]

    destinations = [m["destination"] for m in modified(host, settings, spec)["mounts"]]

    assert destinations[0] == "/proc"
    assert destinations[-1] == "/usr/lib/x86_64-linux-gnu/a/b/c"


def test_an_unprivileged_container_is_ignored_where_the_host_says_so(
    host: Host, settings: dict[str, Any]
) -> None:
    settings["accept-nvidia-visible-devices-envvar-when-unprivileged"] = False
    privileged = {"bounding": ["CAP_SYS_ADMIN"]}

    refused = modified(host, settings, container("NVIDIA_VISIBLE_DEVICES=0"))
    served = modified(
        host, settings, container("NVIDIA_VISIBLE_DEVICES=0", capabilities=privileged)
    )

    assert devices(refused) == []
    assert "/dev/nvidia0" in devices(served)


def test_legacy_mode_leaves_the_work_to_the_prestart_hook(
    host: Host, settings: dict[str, Any]
) -> None:
    settings["nvidia-container-runtime.mode"] = "legacy"
    spec = container("NVIDIA_VISIBLE_DEVICES=0")

    for _ in range(2):
        modified(host, settings, spec)

    assert [hook["path"] for hook in spec["hooks"]["prestart"]] == [runtime.HOOK_PATH]
    assert devices(spec) == []


def test_another_prestart_hook_is_left_in(host: Host, settings: dict[str, Any]) -> None:
    spec = container("NVIDIA_VISIBLE_DEVICES=0")
    other = {"path": "/usr/bin/other"}
    spec["hooks"] = {"prestart": [{"path": runtime.HOOK_PATH}, other]}

    assert modified(host, settings, spec)["hooks"]["prestart"] == [other]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("9", "failed to get device handle from index: Invalid Argument"),
        ("GPU-none", "failed to get device handle from UUID: Not Found"),
        ("nonsense", 'identifier is not a valid UUID or index: "nonsense"'),
    ],
)
def test_an_id_that_means_nothing_is_refused(
    host: Host, settings: dict[str, Any], asked: str, reason: str
) -> None:
    with pytest.raises(runtime.RequestError, match=reason):
        modified(host, settings, container(f"NVIDIA_VISIBLE_DEVICES={asked}"))


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (nvml.LibraryMissingError("libnvidia-ml.so.1: no"), "ERROR_LIBRARY_NOT_FOUND"),
        (DriverMissingError("gone"), "ERROR_LIBRARY_NOT_FOUND"),
        (nvml.NvmlError("Driver Not Loaded"), "failed to initialize NVML: Driver Not Loaded"),
    ],
)
def test_a_host_without_a_working_driver_refuses(
    settings: dict[str, Any], problem: Exception, reason: str
) -> None:
    def find_host() -> Host:
        raise problem

    with pytest.raises(runtime.RequestError, match=reason):
        runtime.modify(container("NVIDIA_VISIBLE_DEVICES=0"), settings, NEW, find_host)


def test_a_lost_gpu_is_refused_and_the_others_are_served(
    host: Host, settings: dict[str, Any]
) -> None:
    lost = host._replace(gpus=host.gpus[1:], failures={0: "GPU is lost"})

    for asked in ("0", "all"):
        with pytest.raises(runtime.RequestError, match=r"index.*: GPU is lost$"):
            modified(lost, settings, container(f"NVIDIA_VISIBLE_DEVICES={asked}"))
    spec = modified(lost, settings, container("NVIDIA_VISIBLE_DEVICES=1"))
    assert "/dev/nvidia1" in devices(spec)


def test_a_toolkit_that_ignores_none_gives_every_gpu(host: Host, settings: dict[str, Any]) -> None:
    spec = container("NVIDIA_VISIBLE_DEVICES=none")

    assert "/dev/nvidia3" in devices(modified(host, settings, spec, fault.IGNORE_NONE))


# ------------------------------------------------------------------------------ the command


class BecameRuntime(Exception):  # noqa: N818 - no error
    """The low-level runtime would run now."""


@pytest.fixture
def on_a_host(host: Host, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def become(name: str, argv: Sequence[str]) -> None:
        if name != "crun":
            raise FileNotFoundError(name)
        raise BecameRuntime(list(argv))

    monkeypatch.setattr(runtime, "discover", lambda: host)
    monkeypatch.setattr(fault, "switched_on", lambda: "")
    monkeypatch.setattr(config, "read", lambda: settings)
    monkeypatch.setattr(os, "execvp", become)


@pytest.mark.usefixtures("on_a_host")
def test_create_edits_the_bundle_and_becomes_the_first_runtime_there_is(tmp_path: Path) -> None:
    bundle = tmp_path / "config.json"
    bundle.write_text(json.dumps(container("NVIDIA_VISIBLE_DEVICES=1")))
    argv = ["nvidia-container-runtime", "create", "--bundle", str(tmp_path), "id"]

    with pytest.raises(BecameRuntime) as caught:
        runtime.main("1.20.0", argv)

    assert caught.value.args[0] == ["crun", *argv[1:]]
    assert "/dev/nvidia1" in devices(json.loads(bundle.read_text()))


@pytest.mark.usefixtures("on_a_host")
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: str(release.version))
def test_a_refusal_is_told_on_stderr_and_in_the_log_that_containerd_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], release: Any
) -> None:
    bundle = tmp_path / "config.json"
    before = json.dumps(container("NVIDIA_VISIBLE_DEVICES=9"))
    bundle.write_text(before)
    log = tmp_path / "log.json"
    argv = [str(log) if word == "LOG" else word for word in CREATE] + [str(tmp_path), "id"]

    with pytest.raises(SystemExit) as caught:
        runtime.main(release.version, argv)

    entry = json.loads(log.read_text())
    assert caught.value.code == 1
    assert entry["level"] == "error"
    assert entry["msg"].startswith(release.request_failure)
    assert "level=error msg=" in capsys.readouterr().err
    assert bundle.read_text() == before


@pytest.mark.usefixtures("on_a_host")
def test_a_device_that_is_gone_since_the_specification_was_written_is_named(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone.json").write_text(
        '{"kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": '
        '{"deviceNodes": [{"path": "/dev/gone"}]}}]}'
    )
    settings["nvidia-container-runtime.modes.cdi.spec-dirs"] = [str(tmp_path)]
    env = container("NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0")
    (tmp_path / "config.json").write_text(json.dumps(env))

    with pytest.raises(SystemExit):
        runtime.main("1.20.0", ["nvidia-container-runtime", "create", f"--bundle={tmp_path}", "x"])

    assert 'failed to stat CDI host device \\"/dev/gone\\"' in capsys.readouterr().err


@pytest.mark.usefixtures("on_a_host")
def test_the_version_is_told_before_the_low_level_runtimes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(BecameRuntime):
        runtime.main("1.20.0", ["nvidia-container-runtime", "--version"])

    assert capsys.readouterr().out.startswith("NVIDIA Container Runtime version 1.20.0\n")
