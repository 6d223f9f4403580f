import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gpuhost.lab import certificates
from gpuhost.lab.servers.tokens import Issuer


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    certificates.issue(tmp_path / "ca", tmp_path, "tokens", ("gpuhost-lab",))
    settings = {
        "issuer": "gpuhost-lab",
        "service": "registry.lab",
        "repositories": ["nvidia/cuda", "nvstaging/pytorch"],
        "restricted": ["nvstaging"],
        "accounts": {"$oauthtoken": "key"},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return Issuer(tmp_path)


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def test_without_a_password_anyone_may_ask(issuer: Issuer) -> None:
    assert issuer.account(None) == ""


def test_the_right_password_is_the_account(issuer: Issuer) -> None:
    assert issuer.account(basic("$oauthtoken:key")) == "$oauthtoken"


@pytest.mark.parametrize(
    "header",
    [basic("$oauthtoken:wrong"), basic("nobody:key"), basic("nobody:"), "Basic %%%", "Bearer x"],
)
def test_anything_else_is_refused(issuer: Issuer, header: str) -> None:
    assert issuer.account(header) is None


def names(access: list[dict[str, Any]]) -> list[str]:
    return [grant["name"] for grant in access]


@pytest.mark.parametrize(
    ("account", "name", "granted"),
    [
        ("", "nvidia/cuda", True),
        ("", "nvstaging/pytorch", False),
        ("$oauthtoken", "nvstaging/pytorch", True),
        ("", "nvidia/none", False),
        ("$oauthtoken", "nvidia/none", False),
    ],
)
def test_who_may_pull_what(issuer: Issuer, account: str, name: str, granted: bool) -> None:
    access = issuer.access(account, [f"repository:{name}:pull"])
    assert names(access) == ([name] if granted else [])


def test_pushing_is_never_granted(issuer: Issuer) -> None:
    (grant,) = issuer.access("$oauthtoken", ["repository:nvidia/cuda:pull,push"])
    assert grant["actions"] == ["pull"]
    assert issuer.access("$oauthtoken", ["repository:nvidia/cuda:push"]) == []
    assert issuer.access("$oauthtoken", ["registry:catalog:*"]) == []


def test_several_scopes_are_told_apart(issuer: Issuer) -> None:
    scopes = ["repository:nvidia/cuda:pull repository:nvstaging/pytorch:pull"]
    assert names(issuer.access("", scopes)) == ["nvidia/cuda"]


def test_a_token_is_signed_with_the_key_of_the_certificate_it_carries(
    issuer: Issuer, tmp_path: Path
) -> None:
    token = issuer.token("", [])
    text, _, signature = token.rpartition(".")
    header, claims = (json.loads(decode(part)) for part in text.split("."))
    certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
    ca = x509.load_pem_x509_certificate((tmp_path / "ca/ca.crt").read_bytes())
    certificate.verify_directly_issued_by(ca)
    public = certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    raw = decode(signature)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    public.verify(encode_dss_signature(r, s), text.encode(), ec.ECDSA(hashes.SHA256()))
    assert claims["aud"] == "registry.lab"
    assert claims["nbf"] <= claims["iat"] < claims["exp"]


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
