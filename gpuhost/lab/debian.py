"""Packages from Debian's own archive, for any suite, without touching this machine's apt.

The archive's address comes from this machine's apt configuration, and so do
its proxy and authentication settings; lists and packages go to a private
folder. Everything is verified against Debian's archive keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpuhost.errors import LabError
from gpuhost.lab.commands import run
from gpuhost.lab.keyed import locked

ARCHITECTURE = "amd64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_INDEX_FORMAT = "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)"
_PRINTED_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) ?(?P<hash>\S*)$")
_SIMULATED = re.compile(r"^Inst (?P<name>\S+) (?:\[\S+\] )?\((?P<version>\S+) ")

_APT_CONFIG = """\
#clear APT::Update;
#clear APT::Architectures;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Dir::State "{root}/state";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{root}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trustedparts "/dev/null";
"""


@dataclass(frozen=True)
class Sites:
    """Where Debian is downloaded from; ``security`` is empty where apt has no such source."""

    archive: str
    security: str = ""


def sites() -> Sites:
    """The Debian sites that this machine's apt is configured with.

    Raises LabError where apt has no Debian source or has never been updated.
    """
    printed = run(
        ["apt-get", "indextargets", "--format", _INDEX_FORMAT, "Created-By: Packages"],
        purpose="Reading this machine's apt sources",
    )
    return parse_sites(printed)


def parse_sites(printed: str) -> Sites:
    """Sites from lines of origin, label and URI, separated by tabs."""
    found: dict[str, str] = {}
    for line in printed.splitlines():
        origin, label, uri = line.split("\t")
        if origin == "Debian":
            found.setdefault(label, uri.rstrip("/"))
    if "Debian" not in found:
        raise LabError(
            "This machine's apt has no Debian source for the lab to take packages from.",
            "Add one under /etc/apt/sources.list.d and run: apt-get update",
        )
    return Sites(found["Debian"], found.get("Debian-Security", ""))


def sources(suite: str, components: Iterable[str] = ("main",)) -> str:
    """Sources of one suite with its updates and security fixes, in deb822 form."""
    return render_sources(sites(), suite, components)


def render_sources(where: Sites, suite: str, components: Iterable[str] = ("main",)) -> str:
    """The deb822 text of :func:`sources` for given sites."""
    if not KEYRING.exists():
        raise LabError(
            f"Debian's archive keys are not on this machine ({KEYRING}).",
            "Run: apt-get install debian-archive-keyring",
        )
    stanzas = [(where.archive, f"{suite} {suite}-updates")]
    if where.security:
        stanzas.append((where.security, f"{suite}-security"))
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {' '.join(components)}\n"
        f"Signed-By: {KEYRING}\n"
        for uri, suites in stanzas
    )


class Archive:
    """One suite of Debian, with lists and downloaded packages kept in a private folder.

    ``cache`` is the lab's cache folder. Lists are fetched at the first use
    and again only when a package that they name is gone. Threads and
    processes may use the same archive at once: they take turns.
    """

    def __init__(self, cache: Path, suite: str, components: Sequence[str] = ("main",)) -> None:
        self.suite = suite
        self.components = tuple(components)
        self.root = cache / "debian" / "-".join((suite, *components))
        self.archives = self.root / "archives"
        self._config = self.root / "apt.conf"

    def update(self) -> None:
        """Fetch the suite's package lists."""
        with locked(self.root, "apt"):
            self._update()

    def _update(self) -> None:
        for folder in ("state/lists/partial", "cache", "archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "state" / "status").touch()
        text = sources(self.suite, self.components)
        (self.root / "debian.sources").write_text(text)
        self._config.write_text(_APT_CONFIG.format(root=self.root, architecture=ARCHITECTURE))
        run(
            ["apt-get", "-c", self._config, "update", "--error-on=any"],
            purpose=f"Fetching the package lists of Debian {self.suite}",
            remedy="Check this machine's apt sources and network: apt-get update",
        )
        (self.root / "updated").touch()

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a package that the suite has, newest first; empty where it has none."""
        with locked(self.root, "apt"):
            printed = self._apt(["apt-cache", "madison", name], f"Looking up {name}")
        seen = (line.split("|")[1].strip() for line in printed.splitlines())
        return tuple(dict.fromkeys(seen))

    def closure(self, names: Sequence[str], installed: Path | None = None) -> tuple[str, ...]:
        """The packages and all that they need, as ``name=version``.

        ``installed`` is a dpkg status file of a system that already has some
        of it; without one, everything down to the C library is named.
        Recommended packages are left out.
        """
        status = installed or self.root / "state" / "status"
        with locked(self.root, "apt"):
            printed = self._apt(
                ["apt-get", "-o", f"Dir::State::status={status}", "--simulate", "install", *names],
                f"Resolving what {' '.join(names)} need on {self.suite}",
            )
        return parse_simulated_install(printed)

    def collect(self, names: Sequence[str], installed: Path | None = None) -> tuple[Path, ...]:
        """Files of the packages and of all that they need: :meth:`closure`, downloaded."""
        try:
            return self.download(self.closure(names, installed))
        except LabError:
            # The first attempt has renewed the lists, and they may resolve differently now.
            return self.download(self.closure(names, installed))

    def download(self, packages: Sequence[str]) -> tuple[Path, ...]:
        """Files of exactly these packages (``name`` or ``name=version``), downloaded once.

        The order is that of apt, not that of ``packages``.
        """
        with locked(self.root, "apt"):
            try:
                return self._download(packages)
            except LabError:
                # A point release or a security fix has replaced a version that the lists name.
                self._update()
                return self._download(packages)

    def _download(self, packages: Sequence[str]) -> tuple[Path, ...]:
        purpose = f"Downloading {', '.join(packages[:4])} … of Debian {self.suite}"
        wanted = self._announced(packages, purpose)
        missing = [w for w in wanted if not is_intact(self.archives / w.file, w)]
        if missing:
            names = [f"{w.name}={w.version}" for w in missing]
            self._apt(["apt-get", "--quiet=2", "download", *names], purpose, self.archives)
        broken = [w.file for w in wanted if not is_intact(self.archives / w.file, w)]
        if broken:
            raise LabError(f"{purpose} failed: {', '.join(broken)} did not arrive whole.")
        return tuple(self.archives / w.file for w in wanted)

    def _announced(self, packages: Sequence[str], purpose: str) -> tuple[Wanted, ...]:
        # Elsewhere than in the archives folder: apt leaves out what lies in the current one.
        printed = self._apt(["apt-get", "--print-uris", "download", *packages], purpose)
        return parse_printed_uris(printed)

    def _apt(self, argv: Sequence[str], purpose: str, folder: Path | None = None) -> str:
        if not (self.root / "updated").exists():
            self._update()
        command = [argv[0], "-c", str(self._config), *argv[1:]]
        return run(command, purpose=purpose, cwd=folder or self.root)


@dataclass(frozen=True)
class Wanted:
    """A package file as apt announces it: its local name, size in bytes and SHA-256."""

    file: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The package's name."""
        return self.file.split("_")[0]

    @property
    def version(self) -> str:
        """The package's version, with its epoch."""
        return self.file.split("_")[1].replace("%3a", ":")


def parse_printed_uris(printed: str) -> tuple[Wanted, ...]:
    """The files that ``apt-get --print-uris`` lists."""
    found = []
    for line in printed.splitlines():
        match = _PRINTED_URI.match(line)
        if match:
            sha256 = match["hash"].removeprefix("SHA256:")
            found.append(Wanted(match["file"], int(match["size"]), sha256))
    return tuple(found)


def parse_simulated_install(printed: str) -> tuple[str, ...]:
    """The ``name=version`` of each line "Inst" of ``apt-get --simulate install``."""
    matches = (_SIMULATED.match(line) for line in printed.splitlines())
    return tuple(f"{m['name']}={m['version']}" for m in matches if m)


def is_intact(path: Path, wanted: Wanted) -> bool:
    """Whether a file is there with the size and, where announced, the hash that it should have."""
    if not path.is_file() or path.stat().st_size != wanted.size:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == wanted.sha256
