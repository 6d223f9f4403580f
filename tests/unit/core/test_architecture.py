"""Imports point one way; this is what holds them to it."""

import ast
import sys
from pathlib import Path

import pytest

from gpuhost import role_modules

PACKAGE = Path(__file__).parents[3] / "gpuhost"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("gpuhost.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_engine_imports_ansible_runner(path: Path) -> None:
    if path.name != "engine.py":
        assert not {n for n in imports_of(path) if n.split(".")[0] == "ansible_runner"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_exits(path: Path) -> None:
    # The probe, some of the lab and what workloads bring are programs of their own, elsewhere.
    own = room(path) in ("lab", "probe") or "library" in path.parts
    if path.name != "cli.py" and not own:
        assert "sys.exit(" not in path.read_text()
        assert "os._exit(" not in path.read_text()


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) == "probe"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_probe_imports_nothing_of_the_controllers(path: Path) -> None:
    assert own_rooms(path) <= {"probe", "__version__"}


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if room(p) in ("checks", "parse", "report")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_checks_parsers_and_reports_only_know_the_model(path: Path) -> None:
    assert own_rooms(path) <= {
        *("checks", "parse", "report", "history", "model", "errors", "probe", "suggest")
    }


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) != "lab"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_nothing_but_the_command_line_knows_the_lab(path: Path) -> None:
    if room(path) not in ("cli", "commands"):
        assert "lab" not in own_rooms(path)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) == "plan"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_plan_neither_reads_nor_runs_anything(path: Path) -> None:
    assert own_rooms(path) <= {
        *("plan", "declared", "checks", "components", "model", "parse", "probe", "role_modules")
    }
    assert not imports_of(path) & {"os", "subprocess", "pathlib.Path"}


@pytest.mark.parametrize("name", role_modules.SHARED)
def test_what_roles_controller_and_probe_share_imports_only_what_they_share(name: str) -> None:
    tree = ast.parse((role_modules.folder() / f"{name}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            assert set(modules) <= set(role_modules.SHARED)
    assert {module.partition(".")[0] for module in found} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["model.py", "errors.py"])
def test_the_model_knows_no_other_room(name: str) -> None:
    assert own_rooms(PACKAGE / name) <= {"errors"}
