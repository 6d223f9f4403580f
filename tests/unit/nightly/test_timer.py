from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpuhost import timer
from gpuhost.errors import UsageError
from gpuhost.timer import Place, TimerError

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "units", tmp_path / "nightly.env", ())


@needs_systemd_analyze
@pytest.mark.parametrize("name", ["site", "our site", "50% done", "a'b $HOME"])
def test_systemd_takes_the_units_as_they_are(place: Place, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    place = replace(place, units=tmp_path / "units", secrets=folder / "nightly.env")
    place.units.mkdir()
    for path, text in timer.units(place, ["-i", "a b/100%"], folder, "*-*-* 02:30:00").items():
        path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, place.paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if timer.NAME in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


def test_the_service_runs_this_gpuhost_in_the_projects_folder(place: Place) -> None:
    service, _ = timer.units(place, ["-i", "inv entory"], Path("/srv/site"), "daily").values()
    assert "WorkingDirectory=/srv/site\n" in service
    assert f'ExecStart={sys.executable} -m gpuhost nightly run -i "inv entory"\n' in service


def test_no_path_is_taken_for_something_that_systemd_replaces(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/srv/50% a/bin/python")
    place = replace(place, secrets=Path("/etc/%h/nightly.env"))
    service, _ = timer.units(place, [], Path("/srv/50% a"), "daily").values()
    assert "WorkingDirectory=/srv/50%% a\n" in service
    assert "EnvironmentFile=-/etc/%%h/nightly.env\n" in service
    assert 'Environment="PATH=/srv/50%% a/bin:' in service
    assert 'ExecStart="/srv/50%% a/bin/python" -m gpuhost' in service


def test_a_run_that_is_stopped_on_request_has_not_failed(place: Place) -> None:
    service, _ = timer.units(place, [], Path("/"), "daily").values()
    (line,) = [line for line in service.splitlines() if line.startswith("SuccessExitStatus=")]
    assert set(line.partition("=")[2].split()) == {"1", "3", "143"}


def test_a_controller_that_was_off_makes_up_for_the_night(place: Place) -> None:
    _, text = timer.units(place, [], Path("/"), "daily").values()
    assert "Persistent=true" in text


def test_a_cron_line_can_be_pasted() -> None:
    line = timer.cron_line(["-i", "/srv/a b"], Path("/srv/50%"), "02:05")
    assert line.startswith("5 2 * * *  cd /srv/50\\% && ")
    assert line.endswith("nightly run -i '/srv/a b' --quiet")


@needs_systemd_analyze
@pytest.mark.parametrize(
    ("given", "calendar"),
    [("2:30", "*-*-* 02:30:00"), ("Mon..Fri 04:00", "Mon..Fri 04:00")],
)
def test_a_time_of_day_or_a_calendar_event_is_taken(given: str, calendar: str) -> None:
    assert timer._calendar(given) == calendar


@needs_systemd_analyze
@pytest.mark.parametrize("given", ["25:00", "noon", "2.30", ""])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is no time of day"):
        timer._calendar(given)


def test_an_installation_that_systemd_refuses_leaves_no_units(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = subprocess.CompletedProcess([], 1, "", "Host is down")
    monkeypatch.setattr(timer.Place, "of_this_user", classmethod(lambda _: place))
    monkeypatch.setattr(timer, "_run", lambda _: refused)
    with pytest.raises(TimerError, match="Host is down") as caught:
        timer.install([], tmp_path, "02:30")
    assert "--cron" in caught.value.remedy
    assert not [path for path in place.paths if path.exists()]


def test_a_user_without_a_manager_is_told_how_to_get_one(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = replace(place, options=("--user",))
    refused = subprocess.CompletedProcess([], 1, "", "Failed to connect to bus")
    monkeypatch.setattr(timer.Place, "of_this_user", classmethod(lambda _: users))
    monkeypatch.setattr(timer, "_run", lambda _: refused)
    with pytest.raises(TimerError, match="Failed to connect to bus") as caught:
        timer.install([], tmp_path, "02:30")
    assert "loginctl enable-linger" in caught.value.remedy
    assert "--cron" in caught.value.remedy
