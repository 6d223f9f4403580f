"""The lab's container registry, under the names of Docker Hub, NGC and GitHub.

Debian's docker-registry serves the images read-only over TLS. It asks for
tokens as these do, and our token server gives them: anyone may pull what is
public; restricted namespaces need the lab's account. An unknown tag is
"manifest unknown", an unknown repository "denied".
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpuhost.lab import certificates, daemon, images, large_images
from gpuhost.lab.keyed import key_of, locked
from gpuhost.lab.state import write_json

NAMES = (
    "registry-1.docker.io",
    "docker.io",
    "index.docker.io",
    "nvcr.io",
    "ghcr.io",
    "registry.lab",
)
RESTRICTED = ("nvstaging", "private")
ACCOUNT = "$oauthtoken"
PORT = 443
TOKEN_PORT = 5001

_SERVICE = "registry.lab"
_ISSUER = "gpuhost-lab"
_TOKEN_SERVER = Path(__file__).parent / "servers" / "tokens.py"
_REGISTRY, _TOKENS = "registry", "registry-tokens"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Registry:
    """A registry that runs.

    ``ca`` is the certificate (PEM) to trust; ``names`` are the host names to
    resolve to ``address``; ``account`` is the user and password that open
    the restricted namespaces.
    """

    address: str
    ca: Path
    account: tuple[str, str]
    names: tuple[str, ...] = NAMES


def ensure(
    cache: Path,
    state: Path,
    address: str,
    *,
    port: int = PORT,
    token_port: int = TOKEN_PORT,
    progress: Progress = lambda _: None,
) -> Registry:
    """A registry with the lab's images that listens on ``address``, made and started as needed.

    Raises LabError where something is missing or a port is taken.
    """
    with locked(cache, "registry"):
        storage = images.ensure(cache, progress)
        password = _password(cache)
        ca = certificates.authority(cache / "ca")
    folder = state / "registry"
    certificates.issue(ca.parent, folder, "server", (*NAMES, address))
    certificates.issue(ca.parent, folder, "tokens", (_ISSUER,))
    _write_settings(folder, password)
    config = _write_config(folder, storage, ca, f"{address}:{port}", f"{address}:{token_port}")
    tokens = [sys.executable, "-P", str(_TOKEN_SERVER), str(folder), address, str(token_port)]
    daemon.ensure(
        _TOKENS,
        tokens,
        state=state,
        address=address,
        port=token_port,
        version=key_of(_TOKEN_SERVER, *_certificates_and_settings(folder)),
    )
    daemon.ensure(
        _REGISTRY,
        ["docker-registry", "serve", str(config)],
        state=state,
        address=address,
        port=port,
        version=key_of(images.key(), ca, config, *_certificates_and_settings(folder)),
    )
    return Registry(address, ca, (ACCOUNT, password))


def stop(state: Path) -> None:
    """End the registry of this state folder; nothing happens where none runs."""
    for name in (_REGISTRY, _TOKENS):
        daemon.stop(state, name)


def _password(cache: Path) -> str:
    file = cache / "ca" / "account.secret"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    return file.read_text()


def _certificates_and_settings(folder: Path) -> list[Path]:
    return [folder / name for name in ("server.crt", "tokens.crt", "settings.json")]


def _write_settings(folder: Path, password: str) -> None:
    (folder / "settings.json").touch(mode=0o600)
    settings = {
        "issuer": _ISSUER,
        "service": _SERVICE,
        "repositories": large_images.repositories(),
        "restricted": RESTRICTED,
        "accounts": {ACCOUNT: password},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def _write_config(folder: Path, storage: Path, ca: Path, address: str, tokens: str) -> Path:
    """docker-registry's configuration; it reads YAML, of which JSON is a part."""
    config = folder / "config.yml"
    settings = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "cache": {"blobdescriptor": "inmemory"},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
        },
        "http": {
            "addr": address,
            "secret": "nothing is ever uploaded",
            "tls": {
                "certificate": str(folder / "server.crt"),
                "key": str(folder / "server.key"),
            },
        },
        "auth": {
            "token": {
                "realm": f"https://{tokens}/token",
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": str(ca),
            }
        },
    }
    write_json(config, settings)
    return config
