"""Packages and their holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.probe import FakePrograms, context, tree

from gpuhost.probe import packages, provisioning
from gpuhost.probe.packages import PackageError, dpkg_packages, rpm_packages, version_locks
from gpuhost.probe.root import Root

NAMES = st.text("abcxyz0123.+-", min_size=1, max_size=12)


def test_removed_and_half_installed_packages_are_left_out() -> None:
    text = (
        "docker-ce\t5:29.8.2-1~debian.12~bookworm\thold\tinstalled\n"
        "docker.io\t20.10\tdeinstall\tconfig-files\n"
        "runc\t\tunknown\tnot-installed\n"
        "containerd.io\t2.3\tinstall\tunpacked\n"
    )
    assert dpkg_packages(text) == [
        {"name": "docker-ce", "version": "5:29.8.2-1~debian.12~bookworm", "held": True}
    ]


def test_a_package_of_two_architectures_is_listed_once() -> None:
    line = "libcuda1\t580\tinstall\tinstalled\n"
    assert len(dpkg_packages(line * 2)) == 1


@given(st.lists(st.tuples(NAMES, NAMES, st.booleans()), unique_by=lambda row: row[0]))
def test_what_dpkg_lists_is_what_comes_back(rows: list[tuple[str, str, bool]]) -> None:
    text = "".join(
        f"{name}\t{version}\t{'hold' if held else 'install'}\tinstalled\n"
        for name, version, held in rows
    )
    found = [(p["name"], p["version"], p["held"]) for p in dpkg_packages(text)]
    assert found == sorted(rows)


@pytest.mark.parametrize(
    ("lock", "held"),
    [
        ("nvidia-driver-3:580.95.05-1.el9", True),
        ("nvidia-driver-580.*", True),
        ("nvidia-driver*", True),
        ("nvidia-driver", True),
        ("nvidia-driver-3:570.1-1.el9", False),
        ("nvidia", False),
    ],
)
def test_a_version_lock_holds_what_it_matches(lock: str, held: bool) -> None:
    assert rpm_packages("nvidia-driver\t3\t580.95.05-1.el9\n", [lock]) == [
        {"name": "nvidia-driver", "version": "580.95.05-1.el9", "held": held}
    ]


def test_locks_are_read_in_both_of_dnfs_formats(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            packages.VERSIONLOCK_LISTS[0]: (
                "# added by hand\nnvidia-driver-3:580.95.05-1.el9.*\n!excluded-1.0\n\n"
            ),
            packages.VERSIONLOCK_TOML: (
                'version = "1.0"\n\n[[packages]]\nname = "docker-ce"\n[[packages.conditions]]\n'
                'key = "evr"\n'
            ),
        },
    )
    assert version_locks(root) == ["nvidia-driver-3:580.95.05-1.el9", "docker-ce"]


def test_a_pattern_that_matches_nothing_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "which", lambda name: f"/usr/bin/{name}")
    programs = FakePrograms({"dpkg-query": ("", 1)})
    assert packages.installed(context(Root(tmp_path), programs), ["nvidia-*"]) == []
    assert programs.asked[0][-1] == "nvidia-*"


def test_a_package_manager_that_fails_is_an_error_and_not_an_empty_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "which", lambda name: f"/usr/bin/{name}")
    programs = FakePrograms({"dpkg-query": ("", 2)})
    with pytest.raises(PackageError):
        packages.installed(context(Root(tmp_path), programs), ["nvidia-*"])


def test_red_hats_packages_are_asked_for_where_there_is_no_dpkg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "which", lambda name: name if name == "rpm" else None)
    programs = FakePrograms({"rpm -qa": ("docker-ce\t3\t29.8.2-1.el9\n", 0)})
    assert packages.installed(context(Root(tmp_path), programs), ["docker-ce*"]) == [
        {"name": "docker-ce", "version": "29.8.2-1.el9", "held": False}
    ]


def test_a_host_with_neither_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "which", lambda _: None)
    with pytest.raises(PackageError, match="neither dpkg-query nor rpm"):
        packages.installed(context(Root(tmp_path)), ["x"])


def test_the_text_of_files_that_the_roles_write_is_read_without_passwords(tmp_path: Path) -> None:
    root = Root(tmp_path)
    ours, others = "/etc/apt/sources.list.d/docker.sources", "/etc/apt/sources.list.d/site.sources"
    for path in (ours, others):
        root.path(path).parent.mkdir(parents=True, exist_ok=True)
        root.path(path).write_text("URIs: http://ops:s3cret@mirror.example.com/docker\n")
    found = provisioning.config_file(root, ours)
    assert found is not None
    assert found["text"] == "URIs: http://***@mirror.example.com/docker"
    other = provisioning.config_file(root, others)
    assert other is not None
    assert other["text"] is None


def test_only_streams_that_are_enabled_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "etc" / "dnf" / "modules.d"
    folder.mkdir(parents=True)
    text = "[{0}]\nname={0}\nstream={1}\nprofiles=\nstate={2}\n"
    for name, stream, state in (
        ("nvidia-driver", "580-open", "enabled"),
        ("nodejs", "20", "disabled"),
        ("php", "", ""),
    ):
        (folder / f"{name}.module").write_text(text.format(name, stream, state))
    assert provisioning.streams(Root(tmp_path)) == {"nvidia-driver": "580-open"}
