"""A site's own checks, run against this machine by a real pytest."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gpuhost import site_checks
from gpuhost.model import CheckResult, Verdict
from gpuhost.settings import Settings
from gpuhost.targets import inventories

GOOD = '''
import pytest

def test_root(host):
    """There is a superuser.

    Install the system anew.
    """
    assert host.user("root").exists

def test_moon(host):
    """The moon is mounted.

    Mount it.
    """
    assert host.file("/moon").exists, "there is no moon"

def test_broken_itself(host):
    host.no_such_module

@pytest.mark.parametrize("name", ["a", "b"])
def test_each(host, name):
    assert name == "a"

def test_elsewhere(host):
    pytest.skip("not on this site")

def test_said(host):
    pytest.fail("said so")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "inventories" / site_checks.FOLDER
    place.mkdir(parents=True)
    return place


def run(folder: Path, limit_s: float = 60) -> dict[str, CheckResult]:
    found = site_checks.examine(folder, None, ["here"], forks=2, limit_s=limit_s)
    return {result.check: result for result in found["here"]}


def test_each_test_becomes_a_result_with_its_docstring_and_its_words(folder: Path) -> None:
    (folder / "test_site.py").write_text(GOOD)
    found = run(folder)
    assert {name: result.verdict for name, result in found.items()} == {
        "site.root": Verdict.PASS,
        "site.moon": Verdict.FAIL,
        "site.broken_itself": Verdict.UNKNOWN,
        "site.each_a": Verdict.PASS,
        "site.each_b": Verdict.FAIL,
        "site.elsewhere": Verdict.SKIP,
        "site.said": Verdict.FAIL,
    }
    moon = found["site.moon"]
    assert moon.summary == "there is no moon"
    assert moon.expected == "The moon is mounted."
    assert moon.remedy == "Mount it."
    assert f"{folder}/test_site.py:11" in moon.cause
    assert "no_such_module" in found["site.broken_itself"].seen
    assert found["site.elsewhere"].summary == "not on this site"
    assert found["site.said"].seen == "said so"


def test_a_file_that_is_no_python_is_unknown_and_keeps_no_other_from_running(folder: Path) -> None:
    (folder / "test_bad.py").write_text("def broken(:")
    (folder / "test_good.py").write_text("def test_fine(host):\n    assert True\n")
    found = run(folder)
    assert found["site.bad"].verdict is Verdict.UNKNOWN
    assert "SyntaxError" in found["site.bad"].seen
    assert str(folder / "test_bad.py") in found["site.bad"].remedy
    assert found["site.fine"].verdict is Verdict.PASS


def test_a_test_that_hangs_is_unknown_and_what_was_heard_before_is_kept(folder: Path) -> None:
    (folder / "test_slow.py").write_text(
        "import time\n"
        "def test_first(host):\n    assert host.user('root').exists\n"
        "def test_hangs(host):\n    time.sleep(600)\n"
        "def test_after(host):\n    assert True\n"
    )
    began = time.monotonic()
    found = run(folder, limit_s=4)
    assert time.monotonic() - began < 30
    assert found["site.first"].verdict is Verdict.PASS
    assert found["site.hangs"].verdict is found["site.after"].verdict is Verdict.UNKNOWN
    assert found["site.hangs"].seen == "was not heard of again within 4 s"


def test_tests_of_one_name_in_two_files_are_told_apart(folder: Path) -> None:
    for name in ("disks", "net"):
        (folder / f"test_{name}.py").write_text("def test_up(host):\n    assert True\n")
    assert set(run(folder)) == {"site.disks_up", "site.net_up"}


def test_a_pytest_that_cannot_begin_is_one_unknown(folder: Path) -> None:
    (folder / "test_any.py").write_text("def test_up(host):\n    assert True\n")
    (folder / "conftest.py").write_text("import no_such_package_of_anybody\n")
    (result,) = run(folder).values()
    assert result.verdict is Verdict.UNKNOWN
    assert "no_such_package_of_anybody" in result.seen


def test_the_folder_lies_beside_the_inventory_and_is_none_itself(folder: Path) -> None:
    site = folder.parent / "site"
    site.mkdir()
    assert site_checks.folder_of(site) is None
    (folder / "test_any.py").write_text("")
    assert site_checks.folder_of(site) == folder
    assert inventories(Settings(folder.parents[1], None, folder, 1)) == (site,)


@pytest.mark.parametrize(
    ("variables", "through"),
    [
        ({}, "SshBackend"),
        ({"ansible_become_password": "x"}, "AnsibleBackend"),
        ({"ansible_become_pass": "x"}, "AnsibleBackend"),
        ({"ansible_become_method": "su"}, "AnsibleBackend"),
    ],
)
def test_where_sudo_asks_for_a_password_ansible_runs_the_commands(
    folder: Path, variables: dict[str, str], through: str
) -> None:
    (folder / "test_way.py").write_text(
        "def test_way(host):\n"
        "    backend = host.backend\n"
        "    if not backend.force_ansible:\n"
        "        backend = backend.ansible_runner.get_host(backend.host).backend\n"
        "    assert not type(backend).__name__\n"
    )
    inventory = folder.parent / "site.yml"
    hosts = {"gpu-01": {"ansible_host": "127.0.0.1", "ansible_connection": "ssh", **variables}}
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    (result,) = site_checks.examine(folder, inventory, ["gpu-01"], forks=1)["gpu-01"]
    assert through in result.seen


def test_how_a_host_is_become_root_on_may_be_in_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "test_way.py").write_text(
        "def test_way(host):\n    assert host.backend.force_ansible\n"
    )
    inventory = folder.parent / "site.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {"gpu-01": {}}}}))
    monkeypatch.setenv("ANSIBLE_BECOME_PASSWORD_FILE", "/nowhere")
    (result,) = site_checks.examine(folder, inventory, ["gpu-01"], forks=1)["gpu-01"]
    assert result.verdict is Verdict.PASS
