"""Paths in a container's root: no symbolic link of an image leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuhost.lab.toolkit.standin.mounts import MountError, resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "rootfs"
    (folder / "usr/lib").mkdir(parents=True)
    return folder


def test_a_plain_path_is_below_the_root(root: Path) -> None:
    assert resolve(root, "/usr/lib/new/file") == root / "usr/lib/new/file"


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib", "/./usr//lib/", "../../usr/lib"])
def test_links_are_followed_within_the_root(root: Path, target: str) -> None:
    (root / "lib").symlink_to(target)

    assert resolve(root, "/lib/libcuda.so") == root / "usr/lib/libcuda.so"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd"])
def test_a_link_out_of_the_root_stays_in_it(root: Path, target: str) -> None:
    (root / "evil").symlink_to(target)

    assert resolve(root, "/evil") == root / "etc/passwd"


def test_dots_do_not_climb_out(root: Path) -> None:
    assert resolve(root, "/../../etc/./x") == root / "etc/x"


def test_a_loop_of_links_is_an_error(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")

    with pytest.raises(MountError, match="too many levels"):
        resolve(root, "/a")
