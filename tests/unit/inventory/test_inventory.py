"""Inventories, read by the real Ansible."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gpuhost import inventory
from gpuhost.errors import InventoryError

Write = Callable[[str, str], Path]
pytestmark = pytest.mark.usefixtures("declared")

FLEET = """
all:
  vars: {gpuhost_gpu_count: 8}
  children:
    gpu:
      hosts:
        lab-[01:04]: {ansible_host: "10.0.0.{{ inventory_hostname[-1] }}"}
    rack4:
      hosts: {lab-03: , lab-04: }
    nobody: {}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> inventory.Inventory:
    path = tmp_path_factory.mktemp("fleet") / "fleet.yml"
    path.write_text(FLEET)
    return inventory.load(path)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["all"], ["lab-01", "lab-02", "lab-03", "lab-04"]),
        (["lab-02"], ["lab-02"]),
        (["lab-04", "lab-01"], ["lab-04", "lab-01"]),
        (["gpu:!lab-03"], ["lab-01", "lab-02", "lab-04"]),
        (["gpu", "!rack4"], ["lab-01", "lab-02"]),
        (["gpu:&rack4"], ["lab-03", "lab-04"]),
        (["gpu,!lab-0[1:3]"], ["lab-04"]),
        (["lab-*4"], ["lab-04"]),
        (["~lab-0[12]"], ["lab-01", "lab-02"]),
        (["lab-0[1:3]"], ["lab-01", "lab-02", "lab-03"]),
        (["gpu[0]"], ["lab-01"]),
        (["gpu[1:2]"], ["lab-02", "lab-03"]),
        (["!lab-01"], ["lab-02", "lab-03", "lab-04"]),
    ],
)
def test_patterns_are_ansibles(
    fleet: inventory.Inventory, patterns: Sequence[str], names: Sequence[str]
) -> None:
    assert [host.name for host in fleet.select(patterns)] == names


def test_one_process_answers_all_questions(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    popen = subprocess.Popen

    def count(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return popen(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", count)
    fleet = inventory.load(write("fleet.yml", FLEET))
    fleet.select(["gpu"])
    fleet.select(["rack4"])
    assert len(started) == 1


def test_the_process_ends_with_the_inventory(write: Write) -> None:
    fleet = inventory.load(write("fleet.yml", FLEET))
    process = fleet._reader._process
    del fleet
    gc.collect()
    assert process.returncode == 0


def test_a_reader_that_was_killed_is_an_error_and_no_broken_pipe(write: Write) -> None:
    fleet = inventory.load(write("fleet.yml", FLEET))
    fleet._reader._process.kill()
    fleet._reader._process.wait()
    with pytest.raises(InventoryError, match="ended without an answer"):
        fleet.select(["all"])


def test_hosts_and_groups_are_those_of_the_inventory(fleet: inventory.Inventory) -> None:
    assert fleet.hosts == ("lab-01", "lab-02", "lab-03", "lab-04")
    assert fleet.groups["rack4"] == ("lab-03", "lab-04")


def test_an_unknown_host_is_an_error_that_suggests_the_nearest(fleet: inventory.Inventory) -> None:
    with pytest.raises(
        InventoryError, match=r"lab-1 is neither .* Did you mean 'lab-0?1'?"
    ) as error:
        fleet.select(["lab-1"])
    assert "lab-01, lab-02" in error.value.remedy
    assert "rack4" in error.value.remedy


def test_a_known_host_does_not_hide_an_unknown_one(fleet: inventory.Inventory) -> None:
    with pytest.raises(InventoryError, match="lab-99"):
        fleet.select(["lab-01", "lab-99"])


def test_an_exclusion_that_names_nothing_is_an_error(fleet: inventory.Inventory) -> None:
    with pytest.raises(InventoryError, match="!lab-30"):
        fleet.select(["gpu:!lab-30"])


def test_a_range_that_goes_too_far_names_the_hosts_that_are_not_there(
    fleet: inventory.Inventory,
) -> None:
    with pytest.raises(InventoryError, match=r"lab-05 is neither.*lab-06 is neither"):
        fleet.select(["lab-0[3:6]"])


@pytest.mark.parametrize("patterns", [["nobody"], ["gpu:!gpu"], ["rack4:&lab-01"]])
def test_a_selection_of_no_host_is_an_error(
    fleet: inventory.Inventory, patterns: Sequence[str]
) -> None:
    with pytest.raises(InventoryError, match="selects no host"):
        fleet.select(patterns)


def test_no_pattern_never_means_all_hosts(fleet: inventory.Inventory) -> None:
    with pytest.raises(InventoryError, match="selects no host"):
        fleet.select([])


@pytest.mark.parametrize("pattern", ["localhost", "gpu[9]", "~[", "~(", "lab-0[x:", "", "!"])
def test_what_ansible_cannot_match_is_unknown(fleet: inventory.Inventory, pattern: str) -> None:
    with pytest.raises(InventoryError, match="is neither a host nor a group"):
        fleet.select([pattern])


def test_templates_are_resolved_host_by_host(write: Write) -> None:
    path = write(
        "hosts.yml",
        """
        all:
          vars:
            per_board: 4
            gpuhost_gpu_count: "{{ per_board * boards }}"
            docker_ce_daemon_config: {labels: ["name={{ inventory_hostname }}"]}
            docker_users_names: "{{ groups['all'] }}"
          hosts: {a: {boards: 1}, b: {boards: 2, ansible_host: "b.{{ 'ex' ~ 'ample' }}"}}
        """,
    )
    a, b = inventory.load(path).select(["all"])
    assert a.variables["gpuhost_gpu_count"] == 4
    assert b.variables["gpuhost_gpu_count"] == 8
    assert b.variables["docker_ce_daemon_config"] == {"labels": ["name=b"]}
    assert b.variables["docker_users_names"] == ["a", "b"]
    assert (a.address, b.address) == ("a", "b.example")


def test_only_the_roles_variables_leave_the_inventory(write: Write) -> None:
    path = write("hosts.ini", "a gpuhost_gpu_count=1 password=s3cret gpuhosts_own=1\n")
    (host,) = inventory.load(path).select(["a"])
    assert host.variables == {"gpuhost_gpu_count": 1}


def test_a_folder_has_group_vars_and_host_vars(write: Write) -> None:
    write("site/hosts", "[gpu]\na\nb\n")
    write("site/group_vars/gpu.yml", "gpuhost_gpu_count: 4\n")
    path = write("site/host_vars/b.yml", "gpuhost_gpu_count: 8\n")
    hosts = inventory.load(path.parent.parent).select(["gpu"])
    assert [host.variables["gpuhost_gpu_count"] for host in hosts] == [4, 8]


def test_keys_and_known_hosts_beside_an_inventory_are_none(write: Write) -> None:
    write("site/known_hosts", "10.0.0.1 ssh-ed25519 AAAA\n")
    write("site/known_hosts.old", "10.0.0.1 ssh-ed25519 AAAA\n")
    write("site/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n")
    write("site/id_ed25519.pub", "ssh-ed25519 AAAA op@here\n")
    path = write("site/hosts.yml", "all: {hosts: {a: }}\n")
    assert inventory.load(path.parent).hosts == ("a",)


def test_an_executable_script_is_an_inventory(write: Write) -> None:
    path = write(
        "hosts.py",
        f"#!{sys.executable}\nimport json\n"
        "print(json.dumps({'gpu': {'hosts': ['a']}, "
        "'_meta': {'hostvars': {'a': {'gpuhost_gpu_count': 2}}}}))\n",
    )
    path.chmod(0o755)
    (host,) = inventory.load(path).select(["gpu"])
    assert host.variables == {"gpuhost_gpu_count": 2}


def test_constructed_groups_are_groups(write: Write) -> None:
    write("site/1.yml", "all: {hosts: {a: {rack: 4}, b: {rack: 5}}}\n")
    path = write("site/2.yml", "plugin: ansible.builtin.constructed\ngroups: {rack4: rack == 4}\n")
    assert [host.name for host in inventory.load(path.parent).select(["rack4"])] == ["a"]


VAULTED = "gpuhost_gpu_model: s3cret\n"


@pytest.fixture
def vaulted(write: Write) -> tuple[Path, Path]:
    """An inventory with a vaulted file, and its password file."""
    password = write("password", "open sesame\n")
    hosts = write("site/hosts", "a\n")
    variables = write("site/host_vars/a.yml", VAULTED)
    vault = Path(sys.executable).parent / "ansible-vault"
    subprocess.run(
        [vault, "encrypt", "--vault-password-file", password, variables],
        check=True,
        capture_output=True,
    )
    return hosts.parent, password


def test_a_vault_is_opened_with_the_password_file_of_the_environment(
    vaulted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, password = vaulted
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    (host,) = inventory.load(path).select(["a"])
    assert host.variables == {"gpuhost_gpu_model": "s3cret"}


def test_a_vault_without_its_password_is_an_error_that_says_how_to_give_it(
    vaulted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)
    with pytest.raises(InventoryError, match="vault") as error:
        inventory.load(vaulted[0]).select(["a"])
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in error.value.remedy


def test_a_missing_inventory_is_an_error_that_suggests_the_nearest(write: Write) -> None:
    path = write("site.yml", FLEET)
    with pytest.raises(InventoryError, match=r"There is no inventory .* Did you mean 'site\.yml'"):
        inventory.load(path.with_name("stie.yml"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("hosts.yml", "all:\n  hosts: [a\n", r"hosts\.yml:3:1: YAML parsing failed"),
        ("hosts.yml", "all: [a]\n", "has no hosts: Skipping 'all'"),
        ("hosts.ini", "[gpu:what]\na\n", "unknown type"),
        ("hosts.ini", "[gpu:vars]\nx=1\n", "undefined group"),
    ],
)
def test_an_inventory_that_cannot_be_parsed_is_an_error_in_ansibles_words(
    write: Write, name: str, text: str, words: str
) -> None:
    with pytest.raises(InventoryError, match=words) as error:
        inventory.load(write(name, text))
    assert error.value.remedy


def test_one_broken_file_in_a_folder_is_an_error(write: Write) -> None:
    write("site/1.yml", "all: {hosts: {a: }}\n")
    path = write("site/2.yml", "all: {hosts: [\n")
    with pytest.raises(InventoryError, match=r"2\.yml"):
        inventory.load(path.parent)


def test_broken_group_vars_are_an_error_in_ansibles_words(write: Write) -> None:
    write("site/group_vars/all.yml", "a: b: c\n")
    path = write("site/hosts", "a\n")
    with pytest.raises(InventoryError, match=r"group_vars/all\.yml:1:5: YAML parsing failed"):
        inventory.load(path.parent).select(["a"])


def test_a_script_that_fails_is_an_error_in_its_own_words(write: Write) -> None:
    path = write("hosts.sh", "#!/bin/sh\necho the CMDB is down >&2\nexit 1\n")
    path.chmod(0o755)
    with pytest.raises(InventoryError, match=r"non-zero exit code 1\. the CMDB is down$"):
        inventory.load(path)


@pytest.mark.parametrize("text", ["[gpu]\n", "\n", "all: {children: {gpu: {}}}\n"])
def test_an_inventory_without_hosts_is_an_error(write: Write, text: str) -> None:
    with pytest.raises(InventoryError, match=r"has no hosts|cannot read"):
        inventory.load(write("hosts.yml" if text.startswith("all") else "hosts", text))


def test_modules_in_the_users_folder_do_not_shadow_ansibles(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("hosts", "a\n")
    write("yaml.py", "raise SystemExit('shadowed')\n")
    monkeypatch.chdir(path.parent)
    assert inventory.load(Path("hosts")).hosts == ("a",)


def test_an_inventory_is_read_in_any_locale(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert inventory.load(write("hosts", "a\n")).hosts == ("a",)


def test_what_a_script_prints_elsewhere_is_no_answer(write: Write) -> None:
    path = write("hosts.sh", '#!/bin/sh\necho noise >&2\necho \'{"gpu": {"hosts": ["a"]}}\'\n')
    path.chmod(0o755)
    assert inventory.load(path).hosts == ("a",)


def test_relative_paths_stay_where_the_user_is(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("sub/hosts", "a\n")
    monkeypatch.chdir(path.parent)
    assert inventory.load(Path("hosts")).path == path
