"""The roles hang together: declared once, documented, linted."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import roles

from gpuhost import inventory, role_docs, specs

EXAMPLE = roles.PROJECT / "inventories" / "example"
ROLES = role_docs.documented_roles(roles.ROLES)
OURS = sorted(path.parent for path in roles.ROLES.glob("*/tasks"))
names = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def options(role: Path) -> dict[str, Any]:
    document = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    declared: dict[str, Any] = document["argument_specs"]["main"].get("options") or {}
    return declared


def test_every_role_with_tasks_declares_its_variables() -> None:
    assert len(OURS) >= 5
    assert set(OURS) <= set(ROLES)


@names
def test_defaults_are_those_that_are_declared(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text()) or {}
    declared = {
        name: option["default"] for name, option in options(role).items() if "default" in option
    }
    assert defaults == declared


@names
def test_every_variable_has_its_roles_name_a_type_and_a_description(role: Path) -> None:
    for name, option in options(role).items():
        assert name.startswith(f"{role.name}_")
        assert option["type"]
        assert option["description"]


@names
def test_the_readme_is_the_one_that_is_made_from_the_declaration(role: Path) -> None:
    assert (role / "README.md").read_text() == role_docs.render(role), (
        "write the READMEs anew: python -m gpuhost.role_docs"
    )


def test_playbooks_are_short() -> None:
    playbooks = sorted(roles.PLAYBOOKS.glob("*.yml"))
    assert playbooks
    for playbook in playbooks:
        assert len(playbook.read_text().splitlines()) <= 30, playbook.name


def example_values() -> dict[str, Any]:
    """Every variable of the example inventory, those in comments included."""
    found: dict[str, Any] = {}
    for path in sorted(EXAMPLE.glob("group_vars/*/*.yml")):
        # A commented variable is one that would be valid without its comment sign.
        text = re.sub(r"(?m)^# (?=[a-z0-9_]+: \S)", "", path.read_text())
        found |= yaml.safe_load(text)
    return found


def test_the_example_inventory_shows_every_variable_and_no_other() -> None:
    declared = specs.load(roles.ROLES).variables
    assert set(example_values()) == set(declared)


def test_what_is_commented_out_in_the_example_is_the_default() -> None:
    declared = specs.load(roles.ROLES).variables
    for path in sorted(EXAMPLE.glob("group_vars/*/*.yml")):
        for name, value in re.findall(r"(?m)^# ([a-z0-9_]+): (\S.*)$", path.read_text()):
            assert yaml.safe_load(value) == declared[name].default, name


def test_the_example_inventory_is_valid() -> None:
    loaded = inventory.load(EXAMPLE)
    desired = {host.name: inventory.desired(host) for host in loaded.select(["gpu_hosts"])}
    assert {name: one.gpu_count for name, one in desired.items()} == {
        "gpu-01": 8,
        "gpu-02": 4,
        "v100-01": 8,
    }


def ansible_environment() -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": programs, "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


@pytest.mark.parametrize("config", ["", str(roles.PLAYBOOKS / "ansible.cfg")])
def test_plain_ansible_playbook_reads_the_playbook_with_and_without_our_configuration(
    tmp_path: Path, config: str
) -> None:
    environment = ansible_environment() | ({"ANSIBLE_CONFIG": config} if config else {})
    playbook = roles.PLAYBOOKS / "provision.yml"
    done = subprocess.run(
        ["ansible-playbook", "-i", EXAMPLE, "--list-tasks", playbook],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for role in OURS:
        assert f"{role.name} :" in done.stdout


@pytest.mark.parametrize("program", [["ansible-lint", "--offline"], ["yamllint", "--strict"]])
def test_the_roles_are_clean(program: list[str]) -> None:
    done = subprocess.run(
        [*program, "playbooks", "inventories/example"],
        cwd=roles.PROJECT,
        env=ansible_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_rule_of_ansible_lint_is_skipped() -> None:
    config = yaml.safe_load((roles.PROJECT / ".ansible-lint").read_text())
    assert config["profile"] == "production"
    assert not {"skip_list", "warn_list"} & set(config)
    assert not list(roles.PLAYBOOKS.rglob(".ansible-lint-ignore"))
    modules = {path.stem for path in (roles.PLAYBOOKS / "library").glob("*.py")}
    actions = {path.stem for path in (roles.PLAYBOOKS / "action_plugins").glob("*.py")}
    # Only what exists is taken on trust.
    assert modules <= set(config["mock_modules"]) <= modules | actions


FORBIDDEN = ("ignore_errors", "ansible.builtin.shell", "ansible.builtin.raw", "apt_key", "# noqa")


def test_roles_never_look_away_from_an_error_or_type_into_a_shell() -> None:
    for path in sorted(roles.PLAYBOOKS.rglob("*.yml")):
        text = path.read_text()
        assert not [word for word in FORBIDDEN if word in text], path


def undescribed(options: dict[str, Any]) -> dict[str, Any]:
    """Documented options as a module declares them."""
    return {
        name: {
            key: undescribed(value) if key == "options" else value
            for key, value in option.items()
            if key != "description"
        }
        for name, option in options.items()
    }


def documentation(path: Path) -> dict[str, Any]:
    module = roles.library(path.stem)
    document: dict[str, Any] = yaml.safe_load(module.DOCUMENTATION)
    assert yaml.safe_load(module.EXAMPLES)
    assert yaml.safe_load(module.RETURN)
    return document


@pytest.mark.parametrize(
    "path", sorted((roles.PLAYBOOKS / "library").glob("*.py")), ids=lambda path: path.stem
)
def test_every_option_of_a_module_is_documented_as_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    taken: dict[str, Any] = {}

    def stop(**parameters: Any) -> None:
        taken.update(parameters)
        raise StoppedError

    module = roles.library(path.stem)
    monkeypatch.setattr(module, "AnsibleModule", stop)
    with pytest.raises(StoppedError):
        module.main()
    assert taken["supports_check_mode"]
    documented = documentation(path).get("options", {})
    assert undescribed(documented) == taken["argument_spec"]
