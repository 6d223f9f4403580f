import gzip
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.apt import Apt

from gpuhost.errors import GpuhostError, LabError
from gpuhost.mirror import debrepo
from gpuhost.mirror.debrepo import Release
from gpuhost.mirror.signing import SigningKey, fingerprint_of, signing_key

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-ftparchive") and shutil.which("gpg")),
    reason="apt-ftparchive and gpg are not on this machine",
)

MakeDeb = Callable[..., Path]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return signing_key(tmp_path_factory.mktemp("keys"), "vendor")


def flat(root: Path) -> str:
    return f"Types: deb\nURIs: file:{root}/\nSuites: ./\n"


def test_a_key_is_made_once_and_its_secret_is_its_owners_alone(tmp_path: Path) -> None:
    first = signing_key(tmp_path / "keys", "vendor")
    assert signing_key(tmp_path / "keys", "vendor") == first
    assert len(first.fingerprint) == 40
    assert first.secret.stat().st_mode & 0o077 == 0
    assert first.public.read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_each_name_has_a_key_of_its_own(tmp_path: Path, key: SigningKey) -> None:
    assert signing_key(tmp_path, "vendor").fingerprint != key.fingerprint


def test_a_file_that_is_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "vendor.asc").write_text("nothing")
    with pytest.raises(GpuhostError):
        fingerprint_of(tmp_path / "vendor.asc")


def test_apt_takes_both_versions_from_a_flat_repository(
    tmp_path: Path, make_deb: MakeDeb, key: SigningKey
) -> None:
    root = tmp_path / "flat"
    for version in ("1.0-1", "1.1-1"):
        make_deb(root, "thing", version)
    debrepo.publish_flat(root, Release("Vendor", "Vendor's things"), key)
    apt = Apt(tmp_path / "apt", [(flat(root), key.public)])
    apt("apt-get", "update", "--error-on=any")
    assert apt.versions("thing") == ["1.1-1", "1.0-1"]
    assert "o=Vendor" in apt("apt-cache", "policy")


def test_apt_takes_packages_with_epochs_from_a_dists_repository(
    tmp_path: Path, make_deb: MakeDeb, key: SigningKey
) -> None:
    root = tmp_path / "vendor"
    pool = Path("dists/trixie/pool/stable/amd64")
    make_deb(root / pool, "thing", "5:1.0-1~debian.13~trixie")
    debrepo.publish_dists(root, pool, Release("Vendor", "Things", "trixie", "stable"), key)
    source = f"Types: deb\nURIs: file:{root}\nSuites: trixie\nComponents: stable\n"
    apt = Apt(tmp_path / "apt", [(source, key.public)])
    apt("apt-get", "update", "--error-on=any")
    uris = apt("apt-get", "download", "--print-uris", "thing=5:1.0-1~debian.13~trixie")
    assert f"file:{root}/{pool}/thing_5" in uris
    assert "n=trixie" in apt("apt-cache", "policy")


def test_apt_refuses_an_index_that_was_changed_after_signing(
    tmp_path: Path, make_deb: MakeDeb, key: SigningKey
) -> None:
    root = tmp_path / "flat"
    make_deb(root, "thing", "1.0-1")
    debrepo.publish_flat(root, Release("Vendor", "Things"), key)
    text = (root / "Packages").read_text() + "\n"
    (root / "Packages").write_text(text)
    (root / "Packages.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(LabError):
        Apt(tmp_path / "apt", [(flat(root), key.public)])("apt-get", "update", "--error-on=any")


def test_apt_refuses_a_repository_signed_with_another_key(
    tmp_path: Path, make_deb: MakeDeb, key: SigningKey
) -> None:
    root = tmp_path / "flat"
    make_deb(root, "thing", "1.0-1")
    other = signing_key(tmp_path / "keys", "other")
    debrepo.publish_flat(root, Release("Vendor", "Things"), other)
    with pytest.raises(LabError):
        Apt(tmp_path / "apt", [(flat(root), key.public)])("apt-get", "update", "--error-on=any")


def test_publishing_again_replaces_index_and_signature(
    tmp_path: Path, make_deb: MakeDeb, key: SigningKey
) -> None:
    root = tmp_path / "flat"
    release = Release("Vendor", "Things")
    make_deb(root, "thing", "1.0-1")
    debrepo.publish_flat(root, release, key)
    make_deb(root, "thing", "2.0-1")
    debrepo.publish_flat(root, release, key)
    apt = Apt(tmp_path / "apt", [(flat(root), key.public)])
    apt("apt-get", "update", "--error-on=any")
    assert apt.versions("thing") == ["2.0-1", "1.0-1"]


def test_placing_packages_leaves_the_originals(tmp_path: Path, make_deb: MakeDeb) -> None:
    deb = make_deb(tmp_path / "from", "thing", "1.0-1")
    debrepo.place([deb], tmp_path / "to")
    assert (tmp_path / "to" / deb.name).read_bytes() == deb.read_bytes()


def test_gpg_leaves_no_agent_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="own-") as own:
        monkeypatch.setattr(tempfile, "tempdir", own)
        signing_key(tmp_path, "vendor")
        arguments = [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        ]
        assert not [line for line in arguments if b"gpg-agent" in line and own.encode() in line]
