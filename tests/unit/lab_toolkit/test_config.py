"""config.toml: upstream's defaults, and changing single values."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuhost.lab.toolkit.standin import config, ctk

MODE = "nvidia-container-runtime.mode"


def ctk_config(path: Path, *options: str) -> int:
    argv = ["nvidia-ctk", "--quiet", "config", f"--config-file={path}", *options]
    return ctk.main("1.20.0", argv)


def test_the_defaults_are_upstreams(captures: Path) -> None:
    captured = (captures / "config-1.18.2.toml").read_text()
    # The one value that was changed for the capture, and what its change pushed out.
    captured = captured.replace(
        '\nlog-level="debug"',
        '#debug = "/var/log/nvidia-container-runtime.log"\nlog-level = "info"',
    )

    assert captured == config.DEFAULT


def test_the_installed_file_has_the_defaults_and_a_second_run_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"

    for _ in range(2):
        assert ctk_config(path, "--in-place") == 0
        assert path.read_text() == config.DEFAULT


def test_a_value_is_changed_in_its_place_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"

    ctk_config(path, "--in-place", "--set", f"{MODE}=cdi", "--set=nvidia-container-cli.no-cgroups")

    text = path.read_text()
    assert config.read(path)[MODE] == "cdi"
    assert config.read(path)["nvidia-container-cli.no-cgroups"] is True
    assert "#swarm-resource" in text
    assert len(text.splitlines()) == len(config.DEFAULT.splitlines())


def test_a_list_is_written_as_one() -> None:
    text = config.with_value(config.DEFAULT, "nvidia-container-runtime.runtimes=crun:runc")

    assert config.parse(text)["nvidia-container-runtime.runtimes"] == ["crun", "runc"]


def test_a_value_whose_section_is_missing_gets_one() -> None:
    text = config.with_value("disable-require = false\n", f"{MODE}=legacy")

    assert text.endswith('\n[nvidia-container-runtime]\nmode = "legacy"\n')


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("nonsense=1", 'undefined field: "nonsense"'),
        (MODE, "expected key=value"),
        ("disable-require=maybe", "not a boolean"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], assignment: str, words: str
) -> None:
    path = tmp_path / "config.toml"

    assert ctk_config(path, "--in-place", f"--set={assignment}") == 1

    assert words in capsys.readouterr().err.replace("\\", "")
    assert not path.exists()


def test_without_a_target_the_configuration_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctk_config(tmp_path / "none.toml") == 0

    assert capsys.readouterr().out == config.DEFAULT


def test_a_file_overrides_the_defaults_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('disable-require = true\n[nvidia-container-runtime]\nmode = "legacy"\n')

    values = config.read(path)

    assert values["disable-require"] is True
    assert values[MODE] == "legacy"
    assert values["nvidia-container-runtime.runtimes"] == ["runc", "crun"]


def test_a_value_that_is_no_toml_is_an_error() -> None:
    with pytest.raises(config.ConfigError, match="cannot read nonsense"):
        config.parse("disable-require = nonsense\n")
