"""The lab's own certificate authority and the certificates that it gives out.

Only lab hosts trust it. Keys lie in the lab's cache, readable by their owner.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpuhost.errors import LabError

VALID_FOR = dt.timedelta(days=3650)
_BACKDATED = dt.timedelta(days=1)
_HASH = hashes.SHA256()
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def authority(folder: Path) -> Path:
    """The authority's certificate (PEM), made at its first use as ``folder/ca.{crt,key}``."""
    certificate, key_file = folder / "ca.crt", folder / "ca.key"
    if not (certificate.exists() and key_file.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("gpuhost rehearsal lab CA")
        built = (
            _start(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        )
        _write(certificate, key_file, built.sign(key, _HASH), key)
    return certificate


def issue(authority_folder: Path, folder: Path, stem: str, names: Sequence[str]) -> Path:
    """The certificate (PEM) of a server with these host names and IP addresses.

    It is ``folder/STEM.crt``, its key ``folder/STEM.key``; both are made anew
    when the names or the authority have changed. The first name is the common
    name.
    """
    ca_file = authority(authority_folder)
    certificate, key_file = folder / f"{stem}.crt", folder / f"{stem}.key"
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    wanted = x509.SubjectAlternativeName([_general_name(name) for name in names])
    if certificate.exists() and key_file.exists() and _is_for(certificate, wanted, ca):
        return certificate
    ca_key = serialization.load_pem_private_key(ca_file.with_suffix(".key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise LabError(f"{ca_file} has no usable key.", f"Remove {authority_folder}.")
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _start(_name(names[0]), ca.subject, key.public_key())
        .add_extension(wanted, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    _write(certificate, key_file, built.sign(ca_key, _HASH), key)
    return certificate


def _is_for(file: Path, wanted: x509.SubjectAlternativeName, ca: x509.Certificate) -> bool:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, InvalidSignature):
        return False
    return names == wanted


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _start(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*granted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in granted for name in _USAGES})


def _write(
    certificate_file: Path,
    key_file: Path,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    key_file.parent.mkdir(parents=True, exist_ok=True)
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
