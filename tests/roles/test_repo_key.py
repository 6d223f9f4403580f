"""Repository keys: only the key with the declared fingerprint is installed."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import roles

armour = roles.util("openpgp_armour")
module = roles.library("repo_key")
keys_on_disk = roles.util("signing_keys")

needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")


@given(st.binary(max_size=300).map(lambda packet: b"\x99" + packet))
def test_armour_comes_off_again(key: bytes) -> None:
    assert armour.dearmour(armour.enarmour(key)) == key


def test_headers_in_the_armour_are_passed_over() -> None:
    plain = armour.enarmour(b"\x99some key").decode().splitlines()
    with_header = [plain[0], "Version: GnuPG v1", "Comment: a: b", *plain[1:]]
    assert armour.dearmour("\r\n".join(with_header).encode()) == b"\x99some key"


@pytest.mark.parametrize(
    "damaged",
    [
        armour.BEGIN + b"\n\nAAAA\n",
        armour.BEGIN + b"\n\nA!A\n" + armour.END,
    ],
)
def test_damaged_armour_is_refused(damaged: bytes) -> None:
    with pytest.raises(armour.ArmourError):
        armour.dearmour(damaged)


@dataclass(frozen=True)
class Key:
    binary: bytes
    fingerprint: str


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Key]:
    """Two keys as gpg makes them, the first with a subkey."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    made = []
    for name, algorithm in (("first", "default"), ("second", "ed25519")):
        subprocess.run([*gpg, "--quick-generate-key", name, algorithm], check=True)
        exported = subprocess.run([*gpg, "--export", name], check=True, capture_output=True)
        listed = subprocess.run(
            [*gpg, "--with-colons", "--list-keys", name], check=True, capture_output=True, text=True
        )
        first = next(line for line in listed.stdout.splitlines() if line.startswith("fpr"))
        made.append(Key(exported.stdout, first.split(":")[9]))
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    return made


class Site:
    """A folder that serves keys, and one to install them in."""

    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.dest = folder / "keyrings" / "docker.asc"

    def run(self, fingerprint: str, **parameters: Any) -> Any:
        return roles.run(
            module,
            **{
                "url": self.served.as_uri(),
                "dest": str(self.dest),
                "fingerprint": fingerprint,
                **parameters,
            },
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@needs_gpg
@pytest.mark.parametrize("armoured", [True, False])
@pytest.mark.parametrize("name", ["docker.asc", "docker.gpg", "RPM-GPG-KEY-docker"])
def test_a_key_is_installed_in_the_form_that_its_name_says(
    site: Site, keys: list[Key], armoured: bool, name: str
) -> None:
    key = keys[0]
    site.served.write_bytes(armour.enarmour(key.binary) if armoured else key.binary)
    dest = site.dest.with_name(name)
    result = site.run(key.fingerprint, dest=str(dest))
    assert result["changed"]
    installed = dest.read_bytes()
    assert armour.dearmour(installed) == key.binary
    assert armour.is_armoured(installed) == (dest.suffix != ".gpg")
    assert dest.stat().st_mode & 0o777 == 0o644


@needs_gpg
def test_gpg_reads_the_armour_that_was_put_on(keys: list[Key]) -> None:
    shown = subprocess.run(
        ["gpg", "--with-colons", "--show-keys"],
        input=armour.enarmour(keys[0].binary),
        capture_output=True,
        check=True,
    )
    assert keys[0].fingerprint.encode() in shown.stdout


@needs_gpg
def test_a_fingerprint_may_be_written_as_people_write_it(site: Site, keys: list[Key]) -> None:
    site.served.write_bytes(keys[0].binary)
    fingerprint = keys[0].fingerprint.lower()
    spaced = " ".join(fingerprint[start : start + 4] for start in range(0, 40, 4))
    assert site.run(spaced)["changed"]
    assert not site.run(f"0x{fingerprint}")["changed"]


@needs_gpg
def test_another_key_is_refused_and_both_fingerprints_are_shown(
    site: Site, keys: list[Key]
) -> None:
    site.served.write_bytes(keys[1].binary)
    result = site.run(keys[0].fingerprint)
    assert result["failed"]
    assert keys[0].fingerprint in result["msg"]
    assert keys[1].fingerprint in result["msg"]
    assert not site.dest.exists()


@needs_gpg
def test_a_second_key_smuggled_in_is_refused(site: Site, keys: list[Key]) -> None:
    site.served.write_bytes(keys[0].binary + keys[1].binary)
    result = site.run(keys[0].fingerprint)
    assert result["failed"]
    assert keys[1].fingerprint in result["msg"]


@needs_gpg
def test_the_fingerprint_of_a_subkey_is_not_enough(site: Site, keys: list[Key]) -> None:
    listing = subprocess.run(
        ["gpg", "--with-colons", "--show-keys"],
        input=keys[0].binary,
        capture_output=True,
        check=True,
    ).stdout.decode()
    fingerprints = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")]
    assert len(fingerprints) == 2
    site.served.write_bytes(keys[0].binary)
    assert site.run(fingerprints[1])["failed"]


@needs_gpg
def test_without_a_declared_fingerprint_the_key_is_refused_and_its_own_is_shown(
    site: Site, keys: list[Key]
) -> None:
    site.served.write_bytes(keys[0].binary)
    result = site.run("")
    assert result["failed"]
    assert keys[0].fingerprint in result["msg"]


@needs_gpg
def test_an_installed_key_needs_no_network(site: Site, keys: list[Key]) -> None:
    site.served.write_bytes(keys[0].binary)
    site.run(keys[0].fingerprint)
    site.served.unlink()
    assert site.run(keys[0].fingerprint) == {
        **site.run(keys[0].fingerprint),
        "changed": False,
        "fingerprint": keys[0].fingerprint,
    }


@needs_gpg
def test_an_installed_key_that_was_exchanged_is_put_right(site: Site, keys: list[Key]) -> None:
    site.dest.parent.mkdir()
    site.dest.write_bytes(armour.enarmour(keys[1].binary))
    site.served.write_bytes(keys[0].binary)
    assert site.run(keys[0].fingerprint)["changed"]
    assert armour.dearmour(site.dest.read_bytes()) == keys[0].binary


@needs_gpg
def test_check_mode_verifies_and_installs_nothing(site: Site, keys: list[Key]) -> None:
    site.served.write_bytes(keys[0].binary)
    assert site.run(keys[0].fingerprint, check=True)["changed"]
    assert not site.dest.exists()


@needs_gpg
@pytest.mark.parametrize("page", [b"<html>404</html>", b""])
def test_what_is_no_key_is_refused(site: Site, page: bytes) -> None:
    site.served.write_bytes(page)
    result = site.run("A" * 40)
    assert result["failed"]
    assert "no OpenPGP public key" in result["msg"]


@needs_gpg
def test_a_key_that_cannot_be_downloaded_is_named_by_its_url(site: Site) -> None:
    result = site.run("A" * 40)
    assert result["failed"]
    assert site.served.as_uri() in result["msg"]


def test_a_host_without_gpg_is_told_what_to_install(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    result = site.run("A" * 40)
    assert result["failed"]
    assert "gnupg" in result["msg"]


@pytest.fixture(scope="session")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    """One key before its publisher renewed it, when it has expired, and after."""
    home = tmp_path_factory.mktemp("renewed")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    long_ago = ["--faked-system-time", "20200101T000000"]
    subprocess.run(
        [*gpg, *long_ago, "--quick-generate-key", "old", "ed25519", "sign", "1y"], check=True
    )
    export = [*gpg, "--export", "old"]
    before = subprocess.run(export, check=True, capture_output=True).stdout
    fingerprint = keys_on_disk.primary_fingerprints(
        subprocess.run(
            [*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True
        ).stdout
    )[0]
    subprocess.run([*gpg, "--quick-set-expire", fingerprint, "0"], check=True)
    after = subprocess.run(export, check=True, capture_output=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    return Key(before, fingerprint), Key(after, fingerprint)


@needs_gpg
def test_an_installed_key_that_has_expired_is_fetched_anew(
    site: Site, renewed: tuple[Key, Key]
) -> None:
    expired, current = renewed
    site.dest.parent.mkdir()
    site.dest.write_bytes(armour.enarmour(expired.binary))
    site.served.write_bytes(current.binary)
    assert site.run(current.fingerprint)["changed"]
    assert armour.dearmour(site.dest.read_bytes()) == current.binary
    assert not site.run(current.fingerprint)["changed"]


@needs_gpg
def test_a_key_that_has_expired_is_refused(site: Site, renewed: tuple[Key, Key]) -> None:
    expired, _ = renewed
    site.served.write_bytes(expired.binary)
    result = site.run(expired.fingerprint)
    assert result["failed"]
    assert f"it has expired ({expired.fingerprint})" in result["msg"]
