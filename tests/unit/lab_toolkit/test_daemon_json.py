"""daemon.json after ``nvidia-ctk runtime configure``, against what upstream made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuhost.lab.toolkit.standin import ctk
from gpuhost.lab.toolkit.standin.daemon_json import DaemonJsonError, Runtime, configured

PLAIN = Runtime("nvidia", "nvidia-container-runtime", is_default=False, enables_cdi=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
OTHER_KEYS = st.text(min_size=1, max_size=12).filter(
    lambda key: key not in ("runtimes", "features", "default-runtime")
)


@pytest.mark.parametrize(
    ("before", "runtime", "capture"),
    [
        ({}, PLAIN, "daemon.json"),
        (
            {
                "zz": 1,
                "runtimes": {"kata": {"path": "/usr/bin/kata"}},
                "log-opts": {"max-size": "10m"},
                "data-root": "/srv/docker",
            },
            PLAIN._replace(is_default=True),
            "d2.json",
        ),
        (
            {"features": {"containerd-snapshotter": True}},
            PLAIN._replace(enables_cdi=True),
            "d3.json",
        ),
    ],
)
def test_the_file_is_upstreams_to_the_byte(
    captures: Path, before: dict[str, Any], runtime: Runtime, capture: str
) -> None:
    after = configured(json.dumps(before), runtime)

    assert after == (captures / "daemon-json-1.18.2" / capture).read_text()


@given(st.dictionaries(OTHER_KEYS, JSON, max_size=4), st.booleans(), st.booleans())
def test_other_keys_stay_and_a_second_run_changes_nothing(
    before: dict[str, Any], is_default: bool, enables_cdi: bool
) -> None:
    runtime = PLAIN._replace(is_default=is_default, enables_cdi=enables_cdi)

    after = configured(json.dumps(before), runtime)

    assert {key: json.loads(after)[key] for key in before} == before
    assert configured(after, runtime) == after


def test_html_characters_are_escaped_as_go_does() -> None:
    assert '"a": "\\u003cb\\u003e \\u0026"' in configured('{"a": "<b> &"}', PLAIN)


def test_whole_numbers_lose_their_fraction_as_in_go() -> None:
    assert '"a": 10,' in configured('{"a": 10.0}', PLAIN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "^EOF$"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key$"),
        ('{"a": 1', "unexpected EOF"),
        ("[]", "cannot unmarshal"),
    ],
)
def test_a_file_that_is_not_json_is_refused_with_gos_words(text: str, words: str) -> None:
    with pytest.raises(DaemonJsonError, match=words):
        configured(text, PLAIN)


# ------------------------------------------------------------------------------ the command


def configure(path: Path, *options: str) -> int:
    return ctk.main("1.20.0", ["nvidia-ctk", "runtime", "configure", f"--config={path}", *options])


@pytest.mark.parametrize("capture", ["d4.json", "d5.json"])
def test_the_command_fails_and_leaves_an_unreadable_file_alone(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], capture: str
) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes((captures / "daemon-json-1.18.2" / capture).read_bytes())
    before = path.read_bytes()

    assert configure(path) == 1

    assert path.read_bytes() == before
    assert "level=error" in capsys.readouterr().err


def test_the_command_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "docker" / "daemon.json"

    assert configure(path, "--runtime=docker", "--set-as-default") == 0

    assert json.loads(path.read_text())["default-runtime"] == "nvidia"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_dry_run_prints_the_file_and_writes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "daemon.json"

    assert configure(path, "--dry-run", "--cdi.enabled") == 0

    assert json.loads(capsys.readouterr().out)["features"] == {"cdi": True}
    assert not path.exists()


def test_another_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configure(tmp_path / "x", "--runtime=crio") == 1

    assert "unrecognized runtime 'crio'" in capsys.readouterr().err
