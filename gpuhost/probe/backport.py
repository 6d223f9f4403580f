"""Lets current releases of docker-py's dependencies load on Python 3.9.

They are written for 3.10, but need nothing of it when they run: types are
joined with ``|`` where code is loaded, and newer names come from ``typing``.
Both are rewritten when the archive unpacks itself on a Python 3.9, where this
module is ``gpuhost_backport``.
"""

from __future__ import annotations

import ast
import typing
from pathlib import Path
from typing import Any, List

MODULE = "gpuhost_backport"


def union(left: Any, right: Any) -> Any:
    """``left | right``, also for two types."""
    try:
        return left | right
    except TypeError:
        return typing.Union[left, right]


def rewrite_folder(folder: str) -> None:
    """Rewrite the modules below ``folder`` that need it."""
    for path in Path(folder).rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if path.stem != MODULE and (" | " in source or "typing import" in source):
            path.write_text(rewrite(source), encoding="utf-8")


def rewrite(source: str) -> str:
    """The module with every ``a | b`` as a call, and without names that ``typing`` lacks."""
    tree = _Rewriter().visit(ast.parse(source))
    start = next((i for i, node in enumerate(tree.body) if not _comes_first(node)), 0)
    tree.body[start:start] = ast.parse(f"import {MODULE}").body
    return ast.unparse(ast.fix_missing_locations(tree))


def _comes_first(node: ast.stmt) -> bool:
    """Whether nothing may be put before the statement: a docstring, or ``__future__``."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


class _Rewriter(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitOr):
            return node
        function = ast.parse(f"{MODULE}.union", mode="eval").body
        return ast.Call(func=function, args=[node.left, node.right], keywords=[])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.module != "typing":
            return node
        missing = [alias for alias in node.names if not hasattr(typing, alias.name)]
        node.names = [alias for alias in node.names if alias not in missing]
        kept: List[ast.stmt] = [node] if node.names else []
        for alias in missing:
            kept += ast.parse(f"{alias.asname or alias.name} = {MODULE}.Any").body
        return kept
