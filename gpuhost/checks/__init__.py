"""Judging evidence: pure functions from one Evidence document to verdicts.

A check is one function under :func:`~gpuhost.checks.registry.check` in the
file of its area; importing this package finds them all.
"""

from gpuhost.checks.headline import headline
from gpuhost.checks.judge import judge
from gpuhost.checks.registry import CheckInfo, catalog

__all__ = ["CheckInfo", "catalog", "headline", "judge"]
