import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.lab_records import make_record

from gpuhost.errors import GpuhostError, LabError, UsageError
from gpuhost.lab import bring_up, host, requirements
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import Store

names = st.lists(
    st.one_of(
        st.integers(1, 999).map(lambda number: f"lab-{number:02d}"),
        st.text("abc", min_size=1, max_size=3),
    ),
    unique=True,
    max_size=40,
)


@pytest.mark.parametrize(
    ("name", "address"),
    [("lab-01", "198.18.66.11"), ("lab-12", "198.18.66.22"), ("gpu", "198.18.66.210")],
)
def test_a_hosts_address_follows_from_its_number(
    where: LabSettings, name: str, address: str
) -> None:
    assert bring_up.choose_address(where, name, ()) == address


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=names)
def test_no_two_hosts_get_the_same_address(where: LabSettings, names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(bring_up.choose_address(where, name, taken))
    assert len(set(taken)) == len(names)
    assert where.address not in taken


def test_a_full_subnet_is_an_error_that_says_what_to_remove(where: LabSettings) -> None:
    taken = [str(address) for address in where.subnet]
    with pytest.raises(LabError, match="no free address"):
        bring_up.choose_address(where, "lab-01", taken)


@pytest.fixture
def lab_of_its_own(where: LabSettings, monkeypatch: pytest.MonkeyPatch) -> LabSettings:
    """The environment points to a lab in which nothing runs, on a machine that could run it."""
    monkeypatch.setenv("GPUHOST_LAB_STATE", str(where.state))
    monkeypatch.setenv("GPUHOST_LAB_CACHE", str(where.cache))
    monkeypatch.setenv("GPUHOST_LAB_SUBNET", str(where.subnet))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "check_requirements", lambda: None)
    return where


def up(
    *names: str,
    gpus: int = 4,
    model: str = "A100",
    release: str = "debian12",
    past: tuple[str, ...] = (),
) -> None:
    bring_up.up(
        names,
        gpus=gpus,
        model=model,
        release=release,
        project=Path(),
        progress=lambda _: None,
        past=past,
    )


@pytest.mark.parametrize("name", ["Lab_01", "-lab", "lab.01", "", "../lab", "x" * 64])
def test_a_name_that_no_host_can_have_is_refused_before_anything_is_made(
    lab_of_its_own: LabSettings, name: str
) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a host"):
        up("lab-01", name)
    assert not lab_of_its_own.state.exists()


def test_an_unknown_release_is_refused_with_the_nearest_one(lab_of_its_own: LabSettings) -> None:
    with pytest.raises(UsageError) as caught:
        up("lab-01", release="debian11")
    assert "Did you mean" in caught.value.message
    assert not lab_of_its_own.state.exists()


@pytest.mark.usefixtures("lab_of_its_own")
def test_an_unknown_gpu_model_is_refused() -> None:
    with pytest.raises(GpuhostError, match="B9000"):
        up("lab-01", model="B9000")


def test_a_model_is_the_same_one_however_it_is_written(where: LabSettings) -> None:
    wanted = bring_up._wanted(["lab-01"], 4, "a100", "debian12", ())
    assert wanted.model == make_record(where).model


@pytest.mark.parametrize(
    "change", [{"gpus": 8}, {"model": "H100"}, {"release": "debian13"}], ids=str
)
def test_a_host_is_never_silently_made_another_one(
    lab_of_its_own: LabSettings, change: dict[str, int | str]
) -> None:
    Store(lab_of_its_own.state).keep_host(make_record(lab_of_its_own))
    with pytest.raises(LabError) as caught:
        up("lab-01", **change)  # type: ignore[arg-type]
    assert "4 × A100 on debian12" in caught.value.message
    assert caught.value.remedy.endswith("gpuhost lab down lab-01")


def test_a_base_system_that_left_the_cache_is_named_in_the_error(where: LabSettings) -> None:
    record = replace(make_record(where), base=str(where.cache / "base" / "debian12-0"))
    with pytest.raises(LabError, match="gone from the cache"):
        host.mount(record)


def test_the_console_is_shown_without_terminal_control(where: LabSettings) -> None:
    record = make_record(where)
    Path(record.folder).mkdir(parents=True)
    record.part("console.log").write_bytes(b"\x1b[0;1;31mFailed\x1b[0m to mount\r\n\n\x1b]3;x\n")
    assert host.console_tail(record).splitlines()[0] == "Failed to mount"


def test_a_host_cannot_load_kernel_modules_into_the_controller(where: LabSettings) -> None:
    command = host.nspawn("gpuhost66", make_record(where))
    assert "--drop-capability=CAP_SYS_MODULE" in command


def test_only_debian_hosts_have_a_past(lab_of_its_own: LabSettings) -> None:
    del lab_of_its_own
    with pytest.raises(UsageError, match="ubuntu2404"):
        up("lab-01", release="ubuntu2404", past=("docker.io",))


def test_a_deleted_project_is_not_brought_back_by_the_lab(
    where: LabSettings, tmp_path: Path
) -> None:
    store = Store(where.state)
    store.keep_host(make_record(where))
    deleted, current = tmp_path / "deleted" / "lab", tmp_path / "current" / "lab"
    store.keep_lab(store.lab().with_inventory(deleted))
    bring_up.register(where, store, current)
    assert (current / "hosts.yml").exists()
    assert not deleted.parent.exists()
