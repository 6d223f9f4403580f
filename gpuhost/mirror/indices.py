"""What vendors' repositories offer: their indices, read after their signatures were verified.

Both kinds of repository come down to :class:`Offered` packages, so that one
resolver (:mod:`resolve`) serves both.
"""

from __future__ import annotations

import gzip
import lzma
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from gpuhost.errors import MirrorError
from gpuhost.mirror import versions
from gpuhost.mirror.download import read
from gpuhost.mirror.layout import System
from gpuhost.mirror.signing import gpg_home
from gpuhost.programs import run

_COMMON = "{http://linux.duke.edu/metadata/common}"
_RPM = "{http://linux.duke.edu/metadata/rpm}"
_REPO = "{http://linux.duke.edu/metadata/repo}"
_SIGNS = {"EQ": "=", "GE": ">=", "LE": "<=", "GT": ">", "LT": "<"}
_RELATION = re.compile(
    r"(?P<name>[^\s(:]+)(?::\w+)?\s*(?:\((?P<sign>[<>=]+)\s*(?P<version>\S+)\))?"
)


@dataclass(frozen=True)
class Relation:
    """A name and, with a sign (=, >=, …), a version; of what is needed or provided."""

    name: str
    sign: str = ""
    version: str = ""


@dataclass(frozen=True)
class Offered:
    """A package that a repository offers.

    ``needs`` are relations of which, in each tuple, one has to be met;
    ``version`` is with the epoch where it has one.
    """

    name: str
    version: str
    location: str
    size: int
    sha256: str
    needs: tuple[tuple[Relation, ...], ...] = ()
    provides: tuple[Relation, ...] = ()

    @property
    def file(self) -> str:
        """The name of its file."""
        return self.location.rpartition("/")[2]


@dataclass(frozen=True)
class Index:
    """A repository's packages, and where their locations are relative to.

    ``modules`` is the YAML of its modules; ``is_signed`` says that the index was
    signed, so that checksums in it can be trusted.
    """

    url: str
    packages: tuple[Offered, ...]
    compare: versions.Compare
    modules: str = ""
    is_signed: bool = True


def fetch_key(url: str, fingerprint: str, target: Path) -> Path:
    """Download a repository's key; MirrorError unless it has this one primary key."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(read(url))
    with gpg_home() as gpg:
        listing = run([*gpg, "--show-keys", "--with-colons", target], purpose=f"Reading {url}")
    lines = [line.split(":") for line in listing.splitlines()]
    found = {
        lines[number + 1][9]
        for number, fields in enumerate(lines[:-1])
        if fields[0] == "pub" and lines[number + 1][0] == "fpr"
    }
    wanted = fingerprint.replace(" ", "").upper()
    if found != {wanted}:
        raise MirrorError(
            f"The key at {url} has the fingerprint {' and '.join(sorted(found)) or '(none)'}, and "
            f"{wanted or '(none declared)'} was expected.",
            "Compare it with what the publisher says; declare it in a file given as --variables.",
        )
    return target


def flat_index(url: str, key: Path) -> Index:
    """The index of an apt repository that is flat."""
    base = url.rstrip("/")
    return _deb_index(base, base, "", key)


def dists_index(url: str, system: System, key: Path) -> Index:
    """The index of an apt repository under a system's code name."""
    base = url.rstrip("/")
    return _deb_index(base, f"{base}/dists/{system.codename}", "stable/binary-amd64/", key)


def _deb_index(base: str, dist: str, folder: str, key: Path) -> Index:
    release = _verified(read(f"{dist}/InRelease"), None, key, f"{dist}/InRelease")
    sums = dict(re.findall(r"^ ([0-9a-f]{64})\s+\d+\s+(\S+)$", release, re.MULTILINE))
    by_name = {name.removeprefix("./"): digest for digest, name in sums.items()}
    for name in (f"{folder}Packages.gz", f"{folder}Packages.xz", f"{folder}Packages"):
        if name in by_name:
            content = _unpacked(name, read(f"{dist}/{name}", sha256=by_name[name]))
            return Index(base, tuple(_stanzas(content.decode())), versions.compare_deb)
    raise MirrorError(f"{dist}/InRelease names no index of packages.", "Check the URL.")


def _stanzas(text: str) -> Iterator[Offered]:
    for stanza in text.strip().split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Architecture") not in ("amd64", "all"):
            continue
        needs = ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends"))))
        yield Offered(
            fields["Package"],
            fields["Version"],
            fields["Filename"].removeprefix("./"),
            int(fields["Size"]),
            fields["SHA256"],
            tuple(tuple(_relations(one, "|")) for one in needs.split(",") if one.strip()),
            tuple(_relations(fields.get("Provides", ""), ",")),
        )


def _relations(text: str, separator: str) -> Iterator[Relation]:
    for part in filter(None, (part.strip() for part in text.split(separator))):
        found = _RELATION.match(part)
        if found:
            yield Relation(found["name"], found["sign"] or "", found["version"] or "")


def rpm_index(url: str, key: Path) -> Index:
    """The index of a repository for dnf."""
    base = url.rstrip("/")
    document = read(f"{base}/repodata/repomd.xml")
    signature = read(f"{base}/repodata/repomd.xml.asc", optional=True)
    if signature:
        _verified(document, signature, key, f"{base}/repodata/repomd.xml")
    parts = {data.get("type"): data for data in ET.fromstring(document)}  # noqa: S314
    packages = ET.fromstring(_part(base, parts["primary"]))  # noqa: S314
    modules = _part(base, parts["modules"]).decode() if "modules" in parts else ""
    offered = tuple(_rpms(packages))
    return Index(base, offered, versions.compare_rpm, modules, is_signed=bool(signature))


def _part(base: str, data: ET.Element) -> bytes:
    location = data.find(f"{_REPO}location")
    checksum = data.find(f"{_REPO}checksum[@type='sha256']")
    if location is None or checksum is None:
        raise MirrorError(f"{base}/repodata/repomd.xml is incomplete.", "Check the URL.")
    name = location.get("href", "")
    return _unpacked(name, read(f"{base}/{name}", sha256=checksum.text or ""))


def _rpms(document: ET.Element) -> Iterator[Offered]:
    for package in document.findall(f"{_COMMON}package"):
        if package.findtext(f"{_COMMON}arch") not in ("x86_64", "noarch"):
            continue
        format_ = package.find(f"{_COMMON}format")
        version = package.find(f"{_COMMON}version")
        location = package.find(f"{_COMMON}location")
        size = package.find(f"{_COMMON}size")
        if format_ is None or version is None or location is None or size is None:
            continue
        yield Offered(
            package.findtext(f"{_COMMON}name") or "",
            _evr(version),
            location.get("href", ""),
            int(size.get("package", "0")),
            package.findtext(f"{_COMMON}checksum") or "",
            tuple((one,) for one in _entries(format_, "requires")),
            tuple(_entries(format_, "provides")),
        )


def _entries(format_: ET.Element, kind: str) -> Iterator[Relation]:
    for entry in format_.findall(f"{_RPM}{kind}/{_RPM}entry"):
        sign = _SIGNS.get(entry.get("flags", ""), "")
        yield Relation(entry.get("name", ""), sign, _evr(entry) if sign else "")


def _evr(element: ET.Element) -> str:
    epoch, version, release = (element.get(name) for name in ("epoch", "ver", "rel"))
    text = f"{version}-{release}" if release else str(version)
    return f"{epoch}:{text}" if epoch not in (None, "0") else text


def _unpacked(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(content)
    if name.endswith(".xz"):
        return lzma.decompress(content)
    if name.endswith(".zst"):
        done = subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=False)
        if done.returncode:
            raise MirrorError(f"{name} cannot be unpacked.", "Run: apt-get install zstd")
        return done.stdout
    return content


def _verified(content: bytes, signature: bytes | None, key: Path, what: str) -> str:
    """The signed text, if the key signed it; MirrorError otherwise."""
    with tempfile.TemporaryDirectory() as scratch, gpg_home(key) as gpg:
        file, output = Path(scratch, "content"), Path(scratch, "verified")
        file.write_bytes(content)
        words: Sequence[str | Path] = ["--output", output, "--decrypt", file]
        if signature is not None:
            Path(scratch, "signature").write_bytes(signature)
            words = ["--verify", Path(scratch, "signature"), file]
        run(
            [*gpg, *words],
            purpose=f"Verifying the signature of {what}",
            remedy="The repository is not what its key vouches for: take nothing from it.",
        )
        return (output if signature is None else file).read_text()
