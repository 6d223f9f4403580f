from dataclasses import replace
from pathlib import Path

import pytest
from support.lab_records import make_record

from gpuhost.lab import certificates, furnish, keys
from gpuhost.lab.settings import LabSettings
from gpuhost.lab.state import HostRecord

AUTHORITY_OF_THE_WORLD = "-----BEGIN CERTIFICATE-----\nthe world's\n-----END CERTIFICATE-----\n"


@pytest.fixture
def record(where: LabSettings) -> HostRecord:
    """A host whose root has what furnishing builds on."""
    record = make_record(where)
    root = record.part("root")
    (root / "home" / "ops").mkdir(parents=True)
    certs = root / "etc" / "ssl" / "certs"
    certs.mkdir(parents=True)
    (certs / "ca-certificates.crt").write_text(AUTHORITY_OF_THE_WORLD)
    return record


@pytest.fixture
def servers(tmp_path: Path) -> furnish.Servers:
    """The lab's servers, as a host knows them."""
    return furnish.Servers(
        address="198.18.66.1",
        names=("nvcr.io", "docker.io"),
        ca=certificates.authority(tmp_path / "ca"),
        package_sources={
            "etc/apt/sources.list.d/lab.sources": "Types: deb\n",
            "etc/apt/keyrings/lab.asc": "the key\n",
        },
    )


@pytest.fixture
def root(record: HostRecord, servers: furnish.Servers, tmp_path: Path) -> Path:
    """The root of a furnished host."""
    furnish.furnish(record, servers, keys.operator_key(tmp_path))
    return record.part("root")


def test_a_host_knows_its_name_its_address_and_the_lab_s_servers(root: Path) -> None:
    assert (root / "etc/hostname").read_text() == "lab-01\n"
    hosts = (root / "etc/hosts").read_text().splitlines()
    assert "127.0.1.1 lab-01" in hosts
    assert "198.18.66.1 nvcr.io docker.io" in hosts
    network = (root / "etc/systemd/network/10-lab.network").read_text()
    assert "Address=198.18.66.11/24" in network


def test_a_host_has_no_route_out_of_the_lab(root: Path) -> None:
    assert "Gateway" not in (root / "etc/systemd/network/10-lab.network").read_text()


def test_secret_keys_are_their_owners_alone(root: Path) -> None:
    for name in ("etc/ssh/ssh_host_ed25519_key", "home/ops/.ssh/authorized_keys"):
        assert (root / name).stat().st_mode & 0o077 == 0


def test_a_host_proves_itself_with_the_key_that_known_hosts_names(
    root: Path, record: HostRecord
) -> None:
    public = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[1]
    assert public in keys.known_hosts([record])


def test_the_labs_authority_is_trusted_beside_the_worlds(
    root: Path, servers: furnish.Servers
) -> None:
    bundle = (root / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert bundle == AUTHORITY_OF_THE_WORLD + servers.ca.read_text()


def test_openssl_finds_the_labs_authority_by_its_hash(root: Path) -> None:
    hashed = [path for path in (root / "etc/ssl/certs").iterdir() if path.suffix == ".0"]
    assert [path.readlink() for path in hashed] == [Path("gpuhost-lab.pem")]


def test_no_two_hosts_have_the_same_machine_id(
    root: Path, record: HostRecord, servers: furnish.Servers, tmp_path: Path
) -> None:
    first = (root / "etc/machine-id").read_text()
    again = replace(record, name="lab-02")
    furnish.furnish(again, servers, keys.operator_key(tmp_path))
    assert (root / "etc/machine-id").read_text() != first
