"""Histories of package managers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpuhost.lab.commands import run
from gpuhost.lab.gpu.deb import Entry, Package
from gpuhost.lab.histories import drivers
from gpuhost.lab.histories.past import Past

HELD_DOCKER = ("docker-ce", "docker-ce-cli", "containerd.io")
AGENT = "monitoring-agent"
_LOCKER = "/usr/local/sbin/unattended-upgrade"
_LOCK = """\
#!/usr/bin/python3
import fcntl, time
stream = open("/var/lib/dpkg/lock-frontend", "r+b")
fcntl.lockf(stream, fcntl.LOCK_EX)
time.sleep(10**6)
"""
_SOURCE = "Types: deb\nURIs: {uri}\nSuites: {suites}\nSigned-By: {key}\n"
_YEARS_AGO = "20200101T000000"
_GPG = ("gpg", "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "")


def held_packages(past: Past) -> None:
    """Versions that somebody once decided to stay with."""
    drivers.old_driver(past)
    key = "/etc/apt/keyrings/docker.asc"
    past.write(key, past.mirror.keys.docker.public.read_text())
    past.write(
        "/etc/apt/sources.list.d/docker.list",
        f"deb [signed-by={key}] {past.mirror.url}/docker/linux/debian {past.suite} stable\n",
    )
    past.run("apt-get", "update", "-qq")
    older = {
        name: past.run("apt-cache", "madison", name).splitlines()[-1].split("|")[1].strip()
        for name in HELD_DOCKER
    }
    past.install(*(f"{name}={version}" for name, version in older.items()))
    installed = past.run("dpkg-query", "-W", "-f", "${Package} ${Version}\n").splitlines()
    of_driver = [
        line.split()[0] for line in installed if line.endswith(f" {drivers.OLD.package_version}")
    ]
    past.run("apt-mark", "hold", *of_driver, *HELD_DOCKER)


def key_expired(past: Past) -> None:
    """Docker's repository as its manual says, with the key as it was before it was renewed."""
    key = past.mirror.keys.docker
    with _gpg(key.secret) as gpg:
        run([*gpg, "--quick-set-expire", key.fingerprint, "seconds=1"], purpose="Ageing it")
        expired = run([*gpg, "--armor", "--export", key.fingerprint], purpose="Taking it out")
    time.sleep(1.1)  # a key cannot expire before it was made, and that may have been just now
    past.write("/etc/apt/keyrings/docker.asc", expired)
    uri = f"{past.mirror.url}/docker/linux/debian"
    source = _SOURCE.format(uri=uri, suites=past.suite, key="/etc/apt/keyrings/docker.asc")
    past.write("/etc/apt/sources.list.d/docker.sources", f"{source}Components: stable\n")


def foreign_key_expired(past: Past) -> None:
    """A repository that nobody has looked after for years."""
    key = f"/etc/apt/keyrings/{AGENT}.asc"
    with _gpg() as home:
        gpg = [*home, "--faked-system-time", _YEARS_AGO]
        made = ["--quick-gen-key", AGENT, "ed25519", "sign", "1y"]
        run([*gpg, *made], purpose="Making a key")
        past.write(key, run([*gpg, "--armor", "--export", AGENT], purpose="Taking it out"))
        release = "Origin: monitoring\nDate: Wed, 01 Jan 2020 00:00:00 UTC\nMD5Sum:\nSHA256:\n"
        signed = run([*gpg, "--clearsign"], purpose="Signing", stdin=release)
    past.write("/srv/monitoring/InRelease", signed)
    source = _SOURCE.format(uri="file:/srv/monitoring", suites="./", key=key)
    past.write(f"/etc/apt/sources.list.d/{AGENT}.sources", source)


@contextmanager
def _gpg(secret: Path | None = None) -> Iterator[tuple[str, ...]]:
    """The words that a gpg command begins with, in a home of its own that has this key."""
    with tempfile.TemporaryDirectory(prefix="gpuhost-gpg-") as home:
        try:
            gpg = (*_GPG, "--homedir", home)
            if secret:
                run([*gpg, "--import", secret], purpose=f"Reading {secret}")
            yield gpg
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"], purpose="Ending gpg's agent")


def _agent(postinst: str = "", **fields: str) -> Package:
    return Package(
        AGENT,
        "2.1-1",
        "something that an operator once needed",
        fields=fields,
        files={f"usr/bin/{AGENT}": Entry(text="#!/bin/sh\n", mode=0o755)},
        scripts={"postinst": f"#!/bin/sh\n{postinst}\n"},
    )


def broken_dpkg(past: Past) -> None:
    """The power went when a package was unpacked and not yet configured."""
    past.run("dpkg", "--unpack", *past.deliver(_agent("exit 0")))


def failing_package(past: Past) -> None:
    """A package whose configuration fails each time."""
    past.attempt("dpkg", "--install", *past.deliver(_agent("echo no licence found >&2; exit 1")))


def unmet_dependency(past: Past) -> None:
    """A package that was installed by force."""
    package = _agent("exit 0", Depends="monitoring-libs (>= 2)")
    past.run("dpkg", "--force-depends", "--install", *past.deliver(package))


def apt_locked(past: Past) -> None:
    """An upgrade that hangs, with the lock."""
    past.write(_LOCKER, _LOCK, 0o755)
    past.run("systemd-run", "--quiet", "--unit=unattended-upgrades", _LOCKER)


def no_headers(past: Past) -> None:
    """A kernel from a package, whose headers no repository has."""
    kernel = os.uname().release
    past.dpkg(
        Package(
            f"linux-image-{kernel}",
            "6.1.0-1",
            "a kernel that the archive has replaced since",
            files={f"usr/share/doc/linux-image-{kernel}/README": Entry(text=f"{kernel}\n")},
        )
    )
    past.run("apt-get", "update", "-qq")
    # The lab's mirror has them beside the driver; this host is one of another kernel.
    source = Path("/etc/apt/preferences.d/no-headers")
    past.write(str(source), "Package: linux-headers-*\nPin: release *\nPin-Priority: -1\n")
