"""What runs on lab hosts must run on the oldest Python there, with its standard library only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from gpuhost.lab.toolkit import standin

MODULES = sorted(Path(standin.__path__[0]).glob("*.py"))
OLDEST = (3, 9)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_the_syntax_is_of_python_39(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=OLDEST)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_only_the_standard_library_is_imported(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            assert node.module.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_annotations_are_not_evaluated_where_39_could_not(path: Path) -> None:
    assert "from __future__ import annotations" in path.read_text() or path.name == "__init__.py"
