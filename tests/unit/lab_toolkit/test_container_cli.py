"""nvidia-container-cli and the prestart hook: what they decide before they touch a container."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gpuhost.lab.toolkit.standin import config, container_cli, hook, nvml
from gpuhost.lab.toolkit.standin.container_cli import CliError, parse_configure
from gpuhost.lab.toolkit.standin.fault import LEAK_ONE
from gpuhost.lab.toolkit.standin.host import DriverMissingError, Host

BOTH = frozenset({"compute", "utility"})


# ------------------------------------------------------------------------------ command line


def test_a_configure_command_line_becomes_a_request() -> None:
    request = parse_configure(
        [
            *("--ldconfig=@/sbin/ldconfig", "--device=0,2", "--compute", "--utility"),
            *("--require=cuda>=12", "--require=driver>=1", "--pid=42", "/roots/c"),
        ]
    )

    assert request.pid == 42
    assert request.rootfs == Path("/roots/c")
    assert request.device == "0,2"
    assert request.capabilities == BOTH
    assert request.requirements == ("cuda>=12", "driver>=1")
    assert request.uses_cgroups


def test_all_among_other_devices_means_all() -> None:
    assert parse_configure(["--device=0", "--device=all", "--pid=1", "/r"]).device == "all"


def test_no_device_asks_for_none() -> None:
    assert parse_configure(["--no-cgroups", "--pid=1", "/r"]).device is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pid=1"], "invalid rootfs"),
        (["--pid=1", "/"], "invalid rootfs"),
        (["--pid=1", "relative"], "invalid rootfs"),
        (["--pid=x", "/r"], "invalid process id"),
        (["/r"], "invalid process id"),
    ],
)
def test_a_command_line_that_makes_no_request_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(CliError, match=f"input error: {words}"):
        parse_configure(arguments)


@pytest.mark.parametrize("argv", [[], ["--load-kmods"], ["nonsense"]])
def test_without_a_command_the_usage_is_told(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert container_cli.main("1.20.0", ["nvidia-container-cli", *argv]) == 1
    assert capsys.readouterr().err.startswith("Usage: nvidia-container-cli")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert container_cli.main("1.20.0", ["nvidia-container-cli", "-V"]) == 0
    assert capsys.readouterr().out.startswith("cli-version: 1.20.0\n")


# ---------------------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia-smi", {"utility"}),
        ("libnvidia-ml.so.550.163.01", {"utility"}),
        ("libcuda.so.550.163.01", {"compute"}),
        ("libcudadebugger.so.550.163.01", {"compute"}),
        ("libnvidia-encode.so.550.163.01", {"video"}),
        ("libnvidia-glcore.so.550.163.01", {"graphics", "display", "ngx"}),
    ],
)
def test_each_file_comes_with_its_capability(name: str, expected: set[str]) -> None:
    assert container_cli.wanted_capability(name) == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"utility"}, {"nvidiactl"}),
        ({"compute"}, {"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"}),
        ({"display"}, {"nvidiactl", "nvidia-modeset"}),
    ],
)
def test_control_devices_come_with_the_capability_that_uses_them(
    host: Host, capabilities: set[str], expected: set[str]
) -> None:
    nodes = container_cli.wanted_control_nodes(host.control_nodes, frozenset(capabilities))

    assert {node.path.rpartition("/")[2] for node in nodes} == expected


@pytest.mark.parametrize(
    ("device", "expected"), [("1,3", [1, 3]), ("all", [0, 1, 2, 3]), (None, [])]
)
def test_the_devices_asked_for_are_selected(
    host: Host, device: str | None, expected: list[int]
) -> None:
    assert [int(gpu.ordinal) for gpu in container_cli.select(host, device, "")] == expected


def test_an_unknown_device_is_refused_by_its_name(host: Host) -> None:
    with pytest.raises(CliError, match=r"^device error: 9: unknown device$"):
        container_cli.select(host, "0,9", "")


def test_a_host_without_gpus_has_none_to_refuse_as_upstream(host: Host) -> None:
    assert container_cli.select(host._replace(gpus=()), "0", "") == ()


def test_a_leaking_toolkit_leaks_here_too(host: Host) -> None:
    assert [gpu.ordinal for gpu in container_cli.select(host, "2", LEAK_ONE)] == ["2", "0"]


def test_requirements_are_held_against_every_gpu(host: Host) -> None:
    mixed = (host.gpus[0], host.gpus[1]._replace(brand="geforce"))

    container_cli.check_requirements(host, mixed[:1], ["brand=tesla"])
    with pytest.raises(CliError, match=r"^requirement error: unsatisfied condition: brand=tesla"):
        container_cli.check_requirements(host, mixed, ["brand=tesla"])


def test_requirements_are_held_against_the_driver_where_no_gpu_is_asked_for(host: Host) -> None:
    with pytest.raises(CliError, match=r"unsatisfied condition: cuda>=13.0, please update"):
        container_cli.check_requirements(host, (), ["cuda>=13.0"])


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (nvml.NvmlError("Driver Not Loaded"), "nvml error: driver not loaded"),
        (
            nvml.LibraryMissingError("libnvidia-ml.so.1: cannot open: No such file"),
            "load library failed: libnvidia-ml.so.1: cannot open: no such file",
        ),
        (DriverMissingError("gone"), "load library failed: gone"),
    ],
)
def test_a_driver_that_does_not_work_is_told_in_upstreams_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: Exception,
    words: str,
) -> None:
    def discover() -> Host:
        raise problem

    monkeypatch.setattr(container_cli, "discover", discover)

    assert container_cli.main("1.20.0", ["nvidia-container-cli", "info"]) == 1
    error = capsys.readouterr().err
    assert error == f"nvidia-container-cli: initialization error: {words}\n"


def test_with_a_lost_gpu_no_container_is_served(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        container_cli, "discover", lambda: host._replace(failures={2: "GPU is lost"})
    )
    argv = ["nvidia-container-cli", "configure", "--device=0", "--pid=1", "/nowhere"]

    assert container_cli.main("1.20.0", argv) == 1

    error = capsys.readouterr().err
    assert error == "nvidia-container-cli: detection error: nvml error: gpu is lost\n"


def test_list_names_what_can_be_injected(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(container_cli, "discover", lambda: host)

    assert container_cli.main("1.20.0", ["nvidia-container-cli", "list"]) == 0

    paths = capsys.readouterr().out.splitlines()
    assert {"/dev/nvidiactl", "/dev/nvidia3", "/usr/bin/nvidia-smi"} < set(paths)


def test_info_describes_every_gpu(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(container_cli, "discover", lambda: host)

    assert container_cli.main("1.20.0", ["nvidia-container-cli", "--load-kmods", "info"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NVRM version:   550.163.01"
    assert sum(line.startswith("GPU UUID:") for line in lines) == 4


# ------------------------------------------------------------------------- the prestart hook


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return config.read(tmp_path / "none.toml")


def arguments(settings: dict[str, Any], *env: str) -> list[str] | None:
    return hook.configure_arguments({"process": {"env": list(env)}}, settings)


def test_the_hook_asks_for_what_the_environment_says(settings: dict[str, Any]) -> None:
    asked = arguments(settings, "NVIDIA_VISIBLE_DEVICES=0,2", "NVIDIA_REQUIRE_CUDA=cuda>=12.0")

    assert asked == [
        "--load-kmods",
        "configure",
        "--ldconfig=@/sbin/ldconfig",
        "--device=0,2",
        "--compute",
        "--utility",
        "--require=cuda>=12.0",
    ]


def test_the_hook_asks_for_no_device_with_none(settings: dict[str, Any]) -> None:
    asked = arguments(settings, "NVIDIA_VISIBLE_DEVICES=none")

    assert asked is not None
    assert not [word for word in asked if word.startswith("--device")]


@pytest.mark.parametrize("value", ["", "void"])
def test_the_hook_leaves_other_containers_alone(settings: dict[str, Any], value: str) -> None:
    assert arguments(settings, f"NVIDIA_VISIBLE_DEVICES={value}") is None


def test_the_hook_follows_the_configuration(settings: dict[str, Any]) -> None:
    settings["nvidia-container-cli.no-cgroups"] = True
    settings["disable-require"] = True

    asked = arguments(settings, "NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_REQUIRE_CUDA=cuda>=99")

    assert asked is not None
    assert "--no-cgroups" in asked
    assert not [word for word in asked if word.startswith("--require")]


def test_the_hook_serves_no_unprivileged_container_where_the_host_says_so(
    settings: dict[str, Any],
) -> None:
    settings["accept-nvidia-visible-devices-envvar-when-unprivileged"] = False

    assert arguments(settings, "NVIDIA_VISIBLE_DEVICES=0") is None


@pytest.fixture
def prestart(tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of a container that runc is about to start."""
    spec = {"process": {"env": ["NVIDIA_VISIBLE_DEVICES=1"]}, "root": {"path": "rootfs"}}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    monkeypatch.setattr(config, "read", lambda: settings)
    state = io.StringIO(json.dumps({"pid": 77, "bundle": str(tmp_path)}))
    monkeypatch.setattr(sys, "stdin", state)
    return tmp_path


def test_the_hook_hands_the_container_to_the_cli(
    prestart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[container_cli.Request] = []
    monkeypatch.setattr(container_cli, "configure", requests.append)

    assert hook.main("1.20.0", ["nvidia-container-runtime-hook", "prestart"]) == 0

    assert [(request.pid, request.device) for request in requests] == [(77, "1")]
    assert requests[0].rootfs == prestart / "rootfs"
    assert capsys.readouterr().err == "Auto-detected mode as 'legacy'\n"


@pytest.mark.usefixtures("prestart")
def test_the_hook_refuses_where_the_mode_is_cdi(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings["nvidia-container-runtime.mode"] = "cdi"

    assert hook.main("1.20.0", ["nvidia-container-runtime-hook", "prestart"]) == 1

    error = capsys.readouterr().err
    assert error.startswith(
        "Using requested mode 'cdi'\ninvoking the NVIDIA Container Runtime Hook"
    )


@pytest.mark.parametrize(
    ("command", "code"), [("poststop", 0), ("poststart", 0), ("nonsense", 2), ("--version", 0)]
)
def test_other_calls_of_the_hook(command: str, code: int) -> None:
    assert hook.main("1.20.0", ["nvidia-container-runtime-hook", command]) == code
