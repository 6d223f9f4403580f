from __future__ import annotations

import shutil
import subprocess
import sys
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
def test_systemd_takes_the_units_as_they_are(place: Place, tmp_path: Path) -> None:
    place.units.mkdir()
    calendar = "*-*-* 02:30:00"
    for path, text in timer.units(place, ["-i", "a b/100%"], tmp_path, calendar).items():
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
