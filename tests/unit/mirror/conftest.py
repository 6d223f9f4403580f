"""Packages small enough to build in a test."""

from support.packages import make_deb

__all__ = ["make_deb"]
