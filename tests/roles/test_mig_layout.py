"""Which layouts GPUs can have, and when one is applied."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import roles

geometry = roles.util("mig_geometry")
store = roles.util("ledger_store")
mig_layout = roles.library("mig_layout")
undo = roles.library("undo")

# As an A100 of 40 GB has them: how many fit, slices, memory.
A100 = {
    name: geometry.Profile(name, *figures)
    for name, figures in {
        "1g.5gb": (7, 1, 5120),
        "1g.5gb+me": (1, 1, 5120),
        "1g.10gb": (4, 1, 10240),
        "2g.10gb": (3, 2, 10240),
        "3g.20gb": (2, 3, 20480),
        "4g.20gb": (1, 4, 20480),
        "7g.40gb": (1, 7, 40960),
    }.items()
}
GPUS = [geometry.Gpu(index, "NVIDIA A100", "0x20b010de", A100) for index in range(2)]
T4 = geometry.Gpu(2, "Tesla T4", "0x1eb810de")


def entry(devices: Any = "all", enabled: bool = True, **parts: int) -> dict[str, Any]:
    profiles = {name.replace("_", "."): count for name, count in parts.items()}
    return {"devices": devices, "mig-enabled": enabled, "mig-devices": profiles}


def layout(profiles: dict[str, int]) -> list[dict[str, Any]]:
    return [{"devices": [0], "mig-enabled": True, "mig-devices": profiles}]


@pytest.mark.parametrize(
    "profiles",
    [
        {},
        {"7g.40gb": 1},
        {"4g.20gb": 1, "3g.20gb": 1},
        {"3g.20gb": 2},
        {"3g.20gb": 1, "2g.10gb": 1, "1g.5gb": 2},
        {"1g.5gb": 6, "1g.5gb+me": 1},
        {"1g.10gb": 4},
        {"1c.3g.20gb": 6},
    ],
)
def test_what_fits_is_possible(profiles: dict[str, int]) -> None:
    assert geometry.problems(layout(profiles), GPUS) == []


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({"3g.40gb": 1}, "NVIDIA A100 has no 3g.40gb; it has 1g.10gb, 1g.5gb"),
        ({"3g.20gb": 3}, "3 of 3g.20gb are wanted, and 2 fit"),
        ({"4g.20gb": 1, "2g.10gb": 2}, "8 slices of 7"),
        ({"3g.20gb": 2, "1g.5gb": 1}, "46080 MiB of 40960"),
        ({"1c.3g.20gb": 7}, "3 of 3g.20gb are wanted"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_figures(
    profiles: dict[str, int], words: str
) -> None:
    (problem, *_) = geometry.problems(layout(profiles), GPUS)
    assert problem.startswith("GPU 0: ")
    assert words in problem


def test_a_layout_for_gpus_that_are_not_there_or_cannot_be_divided_is_refused() -> None:
    assert geometry.problems([entry([0, 4])], GPUS) == ["there is no GPU 4"]
    assert geometry.problems([entry()], [T4]) == ["GPU 2: Tesla T4 cannot be divided"]
    assert geometry.problems([entry(enabled=False)], [T4]) == []
    twice = [entry(), entry([1], enabled=False)]
    assert geometry.problems(twice, GPUS) == ["GPU 1: 2 entries speak of it"]


def test_a_filter_restricts_an_entry_to_a_model() -> None:
    filtered = {**entry(), "device-filter": ["0x20B010DE"]}
    assert geometry.problems([filtered], [*GPUS, T4]) == []
    assert not geometry.concerns({**filtered, "device-filter": "0x233010DE"}, GPUS[0])


def answers(**functions: Any) -> SimpleNamespace:
    """A library whose functions all succeed, some of them with a value."""
    names = ("nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetHandleByIndex_v2")
    return SimpleNamespace(**dict.fromkeys(names, lambda *_: 0), **functions)


def test_what_gpus_offer_is_read_from_nvml() -> None:
    def profile(_gpu: Any, number: int, reference: Any) -> int:
        info = reference._obj
        assert info.version == ctypes.sizeof(info) | 2 << 24
        if number != 9:
            return 3
        info.most, info.slices, info.memory_mib, info.name = 2, 3, 20480, b"MIG 3g.20gb"
        return 0

    def set_value(reference: Any, value: Any, field: str = "value") -> int:
        setattr(reference._obj, field, value)
        return 0

    def name(_gpu: Any, text: Any, _size: int) -> int:
        text.value = b"NVIDIA A100"
        return 0

    library = answers(
        nvmlDeviceGetCount_v2=lambda count: set_value(count, 1),
        nvmlDeviceGetName=name,
        nvmlDeviceGetPciInfo_v3=lambda _gpu, info: set_value(info, 0x20B010DE, "id"),
        nvmlDeviceGetMigMode=lambda *_: 0,
        nvmlDeviceGetGpuInstanceProfileInfoV=profile,
    )
    (gpu,) = geometry.read(library)
    assert (gpu.name, gpu.device) == ("NVIDIA A100", "0x20b010de")
    assert gpu.profiles == {"3g.20gb": A100["3g.20gb"]}
    library.nvmlDeviceGetMigMode = lambda *_: 3
    assert geometry.read(library)[0].profiles == {}


def test_a_driver_that_does_not_answer_says_so() -> None:
    with pytest.raises(geometry.NvmlError, match="nvmlInit_v2: NVML error 9"):
        geometry.read(SimpleNamespace(nvmlInit_v2=lambda: 9))


# ----------------------------------------------------------------------- the module


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that note what they were called for; the layout is there once it was applied."""
    monkeypatch.setattr(mig_layout.mig_geometry, "read", lambda: GPUS)
    monkeypatch.setattr(mig_layout.driver_state, "users_of_gpus", list)
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "nvidia-mig-parted": f'echo "parted $*" >>{tmp_path}/asked; [ -e {tmp_path}/applied ]',
        "systemctl": f'echo "systemctl $*" >>{tmp_path}/asked; touch {tmp_path}/applied',
        "journalctl": "echo In use by another client",
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run(state: str = "applied", **parameters: Any) -> Any:
    entries = layout({"3g.20gb": 2})
    asked = {"layout": "halves", "config": "/c.yaml", "entries": entries, "state": state}
    return roles.run(mig_layout, **{**asked, **parameters})


def test_a_layout_is_applied_by_the_service_once(host: Path) -> None:
    assert run()["changed"]
    assert (host / "asked").read_text().splitlines() == [
        "parted assert -f /c.yaml -c halves",
        "systemctl restart nvidia-mig-manager.service",
        "parted assert -f /c.yaml -c halves",
    ]
    assert not run()["changed"]


def test_it_is_not_applied_in_check_mode_nor_to_see_whether_it_is_possible(host: Path) -> None:
    assert run(check=True)["changed"]
    assert not run("possible")["changed"]
    assert not (host / "applied").exists()


def test_an_impossible_layout_fails_with_every_reason(host: Path) -> None:
    failed = run("possible", entries=layout({"3g.20gb": 3, "7g.40gb": 1}))
    assert "nothing was changed" in failed["msg"]
    assert "3 of 3g.20gb" in failed["msg"]
    assert "no layout halves" in run("possible", entries=[])["msg"]
    assert "needs devices" in run("possible", entries=[{"mig-enabled": True}])["msg"]
    assert not (host / "asked").exists()


def test_gpus_in_use_are_named_and_left_alone(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mig_layout.driver_state, "users_of_gpus", lambda: ["900 python3"])
    failed = run()
    assert "in use by 900 python3" in failed["msg"]
    assert not (host / "applied").exists()


def test_a_layout_that_is_not_there_afterwards_fails_with_the_services_words(host: Path) -> None:
    (host / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    failed = run()
    assert "In use by another client" in failed["msg"]


# ---------------------------------------------------------------- and put back as it was

# Divided as the file beside it says; a configuration has the layout as its name's file.
PARTED = """
cd {folder}
case "$1" in
    export) echo '{{"mig-configs": {{"current": '"$(cat now)"'}}}}' ;;
    assert) [ "$(cat now)" = "$(python3 read.py "$3" "$5")" ] ;;
    apply) [ ! -e broken ] || {{ echo In use by another client >&2; exit 1; }}
        python3 read.py "$3" "$5" >now ;;
esac
"""
READ = """
import json, sys
print(json.dumps(json.load(open(sys.argv[1]))["mig-configs"][sys.argv[2]]))
"""
WHOLE = [{"devices": "all", "mig-enabled": False, "mig-devices": {}}]


@pytest.fixture
def divided(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose GPUs were whole, and that gpuhost divided."""
    monkeypatch.setattr(store, "FOLDER", host / "ledger")
    monkeypatch.setenv("GPUHOST_RUN", "r1")
    store.save(store.RUN, {"run": "r1", "holder": {}, "kind": "remove", "since": 0, "before": {}})
    halves = layout({"3g.20gb": 2})
    (host / "read.py").write_text(READ)
    (host / "now").write_text(json.dumps(WHOLE))
    (host / "c.json").write_text(json.dumps({"mig-configs": {"halves": halves}}))
    (host / "bin/nvidia-mig-parted").write_text("#!/bin/sh" + PARTED.format(folder=host))
    apply = f"nvidia-mig-parted apply -f {host}/c.json -c halves"
    (host / "bin/systemctl").write_text(f"#!/bin/sh\n{apply}\n")
    assert run(config=str(host / "c.json"))["changed"]
    assert now(host) == halves
    return host


def now(host: Path) -> Any:
    return json.loads((host / "now").read_text())


def test_gpus_are_divided_again_as_they_were_before_the_first_layout(divided: Path) -> None:
    quarters = layout({"2g.10gb": 3})
    (divided / "c.json").write_text(json.dumps({"mig-configs": {"halves": quarters}}))
    assert run(config=str(divided / "c.json"), entries=quarters)["changed"]
    told = roles.run(undo, state="division", check=True)
    assert (told["changed"], now(divided)) == (True, quarters)
    assert roles.run(undo, state="division") == {**told, "left": []}
    assert now(divided) == WHOLE
    again = roles.run(undo, state="division")
    assert (again["changed"], again["left"]) == (False, [])


def test_a_division_that_somebody_else_made_since_stays(divided: Path) -> None:
    (divided / "now").write_text("[]")
    told = roles.run(undo, state="division")
    assert told["left"] == ["GPUs stay as somebody divided them after gpuhost"]
    assert now(divided) == []


@pytest.mark.parametrize("why", ["900 python3", "In use by another client"])
def test_gpus_that_cannot_be_divided_now_are_told_with_the_reason(
    divided: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "900 python3":
        monkeypatch.setattr(mig_layout.driver_state, "users_of_gpus", lambda: [why])
    else:
        (divided / "broken").touch()
    (words,) = roles.run(undo, state="division")["left"]
    assert words.startswith("GPUs stay divided, though they were not so (all GPUs: whole): ")
    assert words.endswith(why)


def test_what_an_earlier_gpuhost_divided_is_told_to_stay(
    divided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.remove("mig-division.json")
    config = divided / "gpuhost.yaml"
    config.touch()
    monkeypatch.setattr(undo, "MIG_CONFIG", str(config))
    store.save("originals/index.json", {"files": {str(config): {"copy": None}}})
    (words,) = roles.run(undo, state="division")["left"]
    assert words.endswith("how they were before gpuhost is not on record")
