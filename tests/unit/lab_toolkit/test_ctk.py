"""nvidia-ctk cdi: generating the specification and listing what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gpuhost.lab.toolkit.standin import ctk, fault, nvml
from gpuhost.lab.toolkit.standin.host import DriverMissingError, Host

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.163.01")


def run(*words: str, version: str = "1.20.0") -> int:
    return ctk.main(version, ["nvidia-ctk", *words])


@pytest.fixture
def on_a_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctk, "management_library", lambda _root: LIBRARY)
    monkeypatch.setattr(ctk, "discover", lambda: host)
    monkeypatch.setattr(fault, "switched_on", lambda: "")


@pytest.mark.usefixtures("on_a_host")
def test_the_specification_is_printed_and_the_log_is_beside_it(
    captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cdi", "generate") == 0

    printed = capsys.readouterr()
    assert printed.out == (captures / "nvidia-1.20.0.yaml").read_text()
    assert f'level=info msg="Using {LIBRARY}"' in printed.err
    assert "Generated CDI spec with version 0.5.0" in printed.err


@pytest.mark.usefixtures("on_a_host")
def test_the_refresh_services_variable_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cdi" / "nvidia.yaml"
    monkeypatch.setenv("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", str(path))

    assert run("cdi", "generate") == 0

    assert yaml.safe_load(path.read_text())["kind"] == "nvidia.com/gpu"


@pytest.mark.usefixtures("on_a_host")
def test_a_json_file_gets_json(tmp_path: Path) -> None:
    path = tmp_path / "nvidia.json"

    assert run("cdi", "generate", f"--output={path}") == 0

    assert len(json.loads(path.read_text())["devices"]) == 9


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (DriverMissingError("gone"), "failed to initialize NVML: ERROR_LIBRARY_NOT_FOUND"),
        (nvml.NvmlError("Driver Not Loaded"), "failed to initialize NVML: Driver Not Loaded"),
    ],
)
def test_without_a_working_driver_nothing_is_generated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: Exception,
    words: str,
) -> None:
    def discover() -> Host:
        raise problem

    monkeypatch.setattr(ctk, "management_library", lambda _root: LIBRARY)
    monkeypatch.setattr(ctk, "discover", discover)
    path = tmp_path / "nvidia.yaml"

    assert run("cdi", "generate", f"--output={path}") == 1

    assert words in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.usefixtures("on_a_host")
def test_with_a_lost_gpu_nothing_is_generated(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctk, "discover", lambda: host._replace(failures={1: "GPU is lost"}))

    assert run("cdi", "generate") == 1

    printed = capsys.readouterr()
    assert "error getting device handle for index '1': GPU is lost" in printed.err
    assert printed.out == ""


@pytest.mark.usefixtures("on_a_host")
def test_devices_are_listed_sorted_and_counted_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--quiet", "cdi", "generate", f"--output={tmp_path / 'nvidia.yaml'}")

    assert run("cdi", "list", f"--spec-dir={tmp_path}") == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines() == sorted(printed.out.splitlines())
    assert len(printed.out.splitlines()) == 9
    assert "Found 9 CDI devices" in printed.err


def test_no_device_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cdi", "list", f"--spec-dir={tmp_path}") == 0

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Found 0 CDI devices" in printed.err


def test_a_specification_that_cannot_be_read_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.json").write_text("{")

    assert run("cdi", "list", f"--spec-dir={tmp_path}") == 0

    assert "level=warning" in capsys.readouterr().err


def test_the_version_is_told_as_upstream_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--version", version="1.19.1")

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("NVIDIA Container Toolkit CLI version 1.19.1\n")
