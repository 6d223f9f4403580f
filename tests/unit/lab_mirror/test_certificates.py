import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from gpuhost.lab import certificates

NAMES = ("registry.lab", "nvcr.io", "198.18.0.1")


def handshake(certificate: Path, ca: Path, name: str) -> None:
    """A handshake with a server that has the certificate, as a client that only trusts the CA."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, certificate.with_suffix(".key"))
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cafile=str(ca))
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join(10)


@pytest.mark.parametrize("name", NAMES)
def test_clients_that_trust_the_authority_accept_every_name(tmp_path: Path, name: str) -> None:
    certificate = certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES)
    handshake(certificate, certificates.authority(tmp_path / "ca"), name)


def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    certificate = certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(certificate, certificates.authority(tmp_path / "ca"), "quay.io")


def test_clients_that_trust_another_authority_refuse_it(tmp_path: Path) -> None:
    certificate = certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificate, certificates.authority(tmp_path / "other"), "nvcr.io")


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES)
    for key in (tmp_path / "ca/ca.key", tmp_path / "server.key"):
        assert key.stat().st_mode & 0o077 == 0


def test_a_certificate_is_kept_while_its_names_and_authority_stay(tmp_path: Path) -> None:
    first = certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES).read_bytes()
    assert certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES).read_bytes() == first


def test_other_names_or_another_authority_make_a_new_certificate(tmp_path: Path) -> None:
    seen = {
        certificates.issue(tmp_path / ca, tmp_path, "server", names).read_bytes()
        for ca, names in (("ca", NAMES), ("ca", NAMES[:2]), ("ca2", NAMES[:2]))
    }
    assert len(seen) == 3


def test_the_authority_can_sign_and_servers_cannot(tmp_path: Path) -> None:
    server = certificates.issue(tmp_path / "ca", tmp_path, "server", NAMES)
    authority = certificates.authority(tmp_path / "ca")
    assert _usage(authority).key_cert_sign
    assert not _usage(server).key_cert_sign


def _usage(file: Path) -> x509.KeyUsage:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
