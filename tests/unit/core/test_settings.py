from pathlib import Path

import pytest

from gpuhost import settings
from gpuhost.errors import UsageError


def write_config(folder: Path, text: str) -> None:
    (folder / "gpuhost.toml").write_text(text)


def test_a_flag_wins_over_the_environment_and_the_file(tmp_path: Path) -> None:
    write_config(tmp_path, "forks = 1\n")
    environ = {"GPUHOST_FORKS": "2"}
    assert settings.load({"forks": 3}, environ=environ, cwd=tmp_path).forks == 3
    assert settings.load({}, environ=environ, cwd=tmp_path).forks == 2
    assert settings.load({}, environ={}, cwd=tmp_path).forks == 1


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    write_config(tmp_path, 'inventory = "site/hosts.yml"\nstate_dir = "state"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    loaded = settings.load({}, environ={}, cwd=inner)
    assert loaded.inventory == tmp_path / "site/hosts.yml"
    assert loaded.state_dir == tmp_path / "state"


def test_the_project_is_the_nearest_folder_with_inventories(tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    inner = tmp_path / "docs"
    inner.mkdir()
    assert settings.load({}, environ={}, cwd=inner).project == tmp_path


def test_a_misspelt_setting_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    write_config(tmp_path, 'inventry = "x"\n')
    with pytest.raises(UsageError, match="Did you mean 'inventory'"):
        settings.load({}, environ={}, cwd=tmp_path)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    write_config(tmp_path, "forks = = 2")
    with pytest.raises(UsageError, match=r"gpuhost\.toml is not valid TOML"):
        settings.load({}, environ={}, cwd=tmp_path)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_forks_must_be_a_whole_number_from_one(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="forks must be a whole number"):
        settings.load({}, environ={"GPUHOST_FORKS": value}, cwd=tmp_path)


def test_state_lies_in_the_xdg_state_home(tmp_path: Path) -> None:
    loaded = settings.load({}, environ={"XDG_STATE_HOME": "/srv/state"}, cwd=tmp_path)
    assert loaded.runs_dir == Path("/srv/state/gpuhost/runs")
