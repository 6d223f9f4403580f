import hashlib
from pathlib import Path

import pytest

from gpuhost.errors import LabError
from gpuhost.lab import debian
from gpuhost.lab.debian import Archive, Sites, Wanted

INDEXES = (
    "Debian\tDebian\thttp://debian.example/debian/\n"
    "Debian\tDebian\thttp://debian.example/debian/\n"
    "Debian\tDebian-Security\thttp://debian.example/security/\n"
    "Others\tOthers\thttp://others.example/\n"
)


def test_the_archive_and_its_security_site_are_read_from_apt() -> None:
    assert debian.parse_sites(INDEXES) == Sites(
        "http://debian.example/debian", "http://debian.example/security"
    )


def test_a_machine_without_a_debian_source_is_told_what_to_do() -> None:
    with pytest.raises(LabError) as error:
        debian.parse_sites("Others\tOthers\thttp://others.example/\n")
    assert "apt-get update" in error.value.remedy


def test_sources_name_the_suite_its_updates_and_its_security_fixes() -> None:
    text = debian.render_sources(debian.parse_sites(INDEXES), "trixie", ("main", "non-free"))
    assert "Suites: trixie trixie-updates\n" in text
    assert "URIs: http://debian.example/security\nSuites: trixie-security\n" in text
    assert text.count("Components: main non-free\n") == 2
    assert text.count(f"Signed-By: {debian.KEYRING}\n") == 2


def test_without_a_security_site_only_the_archive_is_named() -> None:
    text = debian.render_sources(Sites("http://debian.example/debian"), "trixie")
    assert "security" not in text


def test_announced_files_keep_epoch_size_and_hash() -> None:
    printed = (
        "'http://debian.example/debian/pool/m/passwd_4.17_amd64.deb' "
        "passwd_1%3a4.17.4-2_amd64.deb 1267612 SHA256:0f4d\n"
        "Get: nothing else\n"
    )
    (wanted,) = debian.parse_printed_uris(printed)
    assert wanted == Wanted("passwd_1%3a4.17.4-2_amd64.deb", 1267612, "0f4d")
    assert (wanted.name, wanted.version) == ("passwd", "1:4.17.4-2")


def test_a_simulated_installation_gives_names_with_versions_also_of_upgrades() -> None:
    printed = (
        "NOTE: This is only a simulation!\n"
        "Inst libc6 (2.41-12 Debian:13.1/stable [amd64])\n"
        "Inst iptables [1.8.9-2] (1.8.11-2 Debian:13.1/stable [amd64]) []\n"
        "Conf libc6 (2.41-12 Debian:13.1/stable [amd64])\n"
    )
    assert debian.parse_simulated_install(printed) == ("libc6=2.41-12", "iptables=1.8.11-2")


def test_a_file_counts_as_intact_only_with_its_size_and_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "a.deb"
    file.write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    assert debian.is_intact(file, Wanted("a.deb", 7, digest))
    assert not debian.is_intact(file, Wanted("a.deb", 8, digest))
    assert not debian.is_intact(file, Wanted("a.deb", 7, "0" * 64))
    assert not debian.is_intact(tmp_path / "b.deb", Wanted("b.deb", 7, digest))


class Apt:
    """Stands in for apt: announces one package, and delivers it only after an update."""

    def __init__(self, archives: Path) -> None:
        self.archives = archives
        self.updates = 0
        self.downloads = 0

    def run(self, argv: list[str | Path], **_: object) -> str:
        words = [str(word) for word in argv]
        if "update" in words:
            self.updates += 1
        elif "--print-uris" in words:
            digest = hashlib.sha256(b"deb").hexdigest()
            return f"'http://debian.example/tini.deb' tini_0.19-3_amd64.deb 3 SHA256:{digest}\n"
        elif "download" in words:
            self.downloads += 1
            if self.updates < 2:
                raise LabError("404 Not Found")
            (self.archives / "tini_0.19-3_amd64.deb").write_bytes(b"deb")
        return ""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    apt = Apt(tmp_path / "debian/trixie-main/archives")
    monkeypatch.setattr(debian, "run", apt.run)
    monkeypatch.setattr(debian, "sources", lambda *_: "")
    return apt


def test_a_superseded_package_is_asked_for_again_after_new_lists(apt: Apt, tmp_path: Path) -> None:
    (path,) = Archive(tmp_path, "trixie").download(["tini"])
    assert path == apt.archives / "tini_0.19-3_amd64.deb"
    assert (apt.updates, apt.downloads) == (2, 2)


def test_what_was_downloaded_once_is_not_downloaded_again(apt: Apt, tmp_path: Path) -> None:
    Archive(tmp_path, "trixie").download(["tini"])
    Archive(tmp_path, "trixie").download(["tini"])
    assert (apt.updates, apt.downloads) == (2, 2)


@pytest.mark.usefixtures("apt")
def test_a_damaged_download_is_replaced(tmp_path: Path) -> None:
    (path,) = Archive(tmp_path, "trixie").download(["tini"])
    path.write_bytes(b"dab")
    assert Archive(tmp_path, "trixie").download(["tini"])[0].read_bytes() == b"deb"
