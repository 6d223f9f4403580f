"""Versions are ordered as dpkg and rpm themselves order them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from gpuhost.mirror.versions import compare_deb, compare_rpm

DEBIAN = ("1.0", "1.0-1", "1.0~rc1", "1.0-1~bpo12", "1:0.9", "1.0+dfsg1-9", "10.2", "9.10", "1.0a")
RPM = (
    "1.0",
    "1.0-1",
    "1.0~rc1-1",
    "1.0^git1-1",
    "1:0.9-1",
    "10.2-1",
    "9.10-1",
    "1.0a-1",
    "1.0.1-1",
)


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is not on this machine")
@pytest.mark.parametrize("one", DEBIAN)
def test_debian_versions_are_ordered_as_by_dpkg(one: str) -> None:
    for other in DEBIAN:
        argv = ["dpkg", "--compare-versions", one]
        newer = not subprocess.run([*argv, "gt", other], check=False).returncode
        older = not subprocess.run([*argv, "lt", other], check=False).returncode
        assert sign(compare_deb(one, other)) == newer - older, (one, other)


@pytest.mark.skipif(not shutil.which("rpm"), reason="rpm is not on this machine")
def test_rpm_versions_are_ordered_as_by_rpm() -> None:
    pairs = [(one, other) for one in RPM for other in RPM if "-" in one and "-" in other]
    macro = "".join(f"%{{lua:print(rpm.vercmp('{a}', '{b}'))}} " for a, b in pairs)
    done = subprocess.run(["rpm", "--eval", macro], capture_output=True, text=True, check=True)
    assert [sign(compare_rpm(a, b)) for a, b in pairs] == [int(n) for n in done.stdout.split()]


def test_a_release_that_is_not_asked_for_does_not_count() -> None:
    assert compare_rpm("3:580.1", "3:580.1-1.el9") == 0
