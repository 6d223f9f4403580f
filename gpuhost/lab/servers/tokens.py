"""Issue the tokens that the lab's registry asks for, as Docker Hub and NGC do.

Usage: tokens.py FOLDER ADDRESS PORT

FOLDER holds ``settings.json`` (issuer, service, repositories, restricted
namespaces, accounts) and the PEM files ``server.{crt,key}`` and
``tokens.{crt,key}``. Anyone may pull from repositories that exist in a
namespace that is not restricted; an account may pull from all that exist; a
wrong password is refused. What does not exist is denied as what is restricted
is: those registries do not tell one from the other.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LIFETIME_S = 300
_COORDINATE_BYTES = 32


class Issuer:
    """Decides who may pull what, and signs it."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "settings.json").read_text())
        self.issuer: str = settings["issuer"]
        self.service: str = settings["service"]
        self.repositories: Sequence[str] = settings["repositories"]
        self.restricted: Sequence[str] = settings["restricted"]
        self.accounts: Mapping[str, str] = settings["accounts"]
        key = serialization.load_pem_private_key((folder / "tokens.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("tokens.key is not an elliptic-curve key")
        self._key = key
        certificate = x509.load_pem_x509_certificate((folder / "tokens.crt").read_bytes())
        self._chain = [
            base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        ]

    def account(self, authorization: str | None) -> str | None:
        """Who asks: "" is anyone; None is a wrong name or password."""
        if not authorization:
            return ""
        try:
            pair = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        name, _, password = pair.partition(":")
        known = self.accounts.get(name)
        return name if known and hmac.compare_digest(known, password) else None

    def access(self, account: str, scopes: Sequence[str]) -> list[dict[str, Any]]:
        """What of the requested scopes is granted; only ever pulling."""
        granted = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            asks_to_pull = kind == "repository" and "pull" in actions.split(",")
            if asks_to_pull and self._may_pull(account, name):
                granted.append({"type": kind, "name": name, "actions": ["pull"]})
        return granted

    def _may_pull(self, account: str, name: str) -> bool:
        open_to_all = name.partition("/")[0] not in self.restricted
        return name in self.repositories and (open_to_all or account != "")

    def token(self, account: str, access: Sequence[Mapping[str, Any]]) -> str:
        """A signed JWT for the registry."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": account,
            "iat": now,
            "nbf": now - 10,
            "exp": now + LIFETIME_S,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        header = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        text = f"{_encode(header)}.{_encode(claims)}"
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{text}.{_base64url(signature)}"


class TokenHandler(BaseHTTPRequestHandler):
    """GET /token; an OAuth POST is declined, and clients then fall back to GET."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: TokenServer

    def do_GET(self) -> None:
        """Answer with a token, or with 401 for a wrong name or password."""
        issuer = self.server.issuer
        account = issuer.account(self.headers.get("Authorization"))
        if account is None:
            error = {"code": "UNAUTHORIZED", "message": "incorrect username or password"}
            self._answer(401, {"errors": [error]})
            return
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        token = issuer.token(account, issuer.access(account, scopes))
        self._answer(200, {"token": token, "access_token": token, "expires_in": LIFETIME_S})

    def do_POST(self) -> None:
        """Decline."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(405, {"errors": [{"code": "UNSUPPORTED", "message": "use GET"}]})

    def _answer(self, status: int, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class TokenServer(ThreadingHTTPServer):
    """TLS in each connection's own thread, so that none holds up the others."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], issuer: Issuer, tls: ssl.SSLContext) -> None:
        super().__init__(address, TokenHandler)
        self.issuer = issuer
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, its TLS handshake included."""
        request.settimeout(TokenHandler.timeout)
        with self._tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - inherited
        """Log a failed connection in one line; clients that distrust us are daily business."""
        sys.stderr.write(f"{client_address[0]}: {sys.exc_info()[1]}\n")


def _encode(document: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def main(folder: str, address: str, port: str) -> None:
    """Serve until the process is ended."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(folder) / "server.crt", Path(folder) / "server.key")
    with TokenServer((address, int(port)), Issuer(Path(folder)), tls) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
