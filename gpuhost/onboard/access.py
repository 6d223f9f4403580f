"""What is needed on a host before Ansible can work there: a key, sudo, Python."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path

from gpuhost.errors import ExitCode, GpuhostError, UsageError
from gpuhost.onboard.login import Session

LEAST_PYTHON = (3, 9)
PYTHONS = "/usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.10 python3.9"
_INSTALL_KEY = r"""
umask 077
d="$HOME/.ssh"; f="$d/authorized_keys"
line=$(cat); key=$(printf '%s\n' "$line" | cut -d' ' -f1,2)
[ -d "$d" ] || mkdir "$d" || exit 1
if [ -f "$f" ] && grep -v '^[[:space:]]*#' "$f" | grep -qF -- "$key"; then echo present; exit; fi
if [ -s "$f" ] && [ -n "$(tail -c 1 "$f")" ]; then echo >> "$f" || exit 1; fi
printf '%s\n' "$line" >> "$f" || exit 1
command -v restorecon >/dev/null 2>&1 && restorecon -F "$d" "$f" 2>/dev/null
echo installed
"""
_SUDO = """
if [ "$(id -u)" = 0 ]; then echo root
elif ! command -v sudo >/dev/null 2>&1; then echo missing
elif sudo -n true 2>/dev/null; then echo free
else echo asks; fi
"""
_PYTHON = f"""
for p in {PYTHONS}; do
  "$p" -I -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
done
"""
# Checked before it holds: a mistake there would lock everybody out of sudo.
_ALLOW_SUDO = """
t=$(mktemp) && printf '%s\\n' {line} > "$t" && visudo -cqf "$t" \
  && install -m 0440 "$t" {target}; r=$?; rm -f "$t"; exit $r
"""


class UnfitError(GpuhostError):
    """A host that cannot be made a GPU container host as it is."""

    exit_code = ExitCode.FAILED


def read_public(path: Path) -> str:
    """The line of the public key in a file; the public half of a private one.

    Raises:
        UsageError: there is none.
    """
    path = public_half(path)
    try:
        lines = path.read_text().strip().splitlines()
    except OSError as error:
        raise UsageError(
            f"--install-key: {path} cannot be read: {error.strerror}.",
            "Name a public key, or make one with: ssh-keygen -t ed25519",
        ) from error
    if len(lines) != 1 or not _is_public_key(lines[0]):
        raise UsageError(f"--install-key: {path} is no public key.", "Name one that ends in .pub.")
    return lines[0]


def _is_public_key(line: str) -> bool:
    """Whether it is a kind and, in base64, a key that calls itself of that kind."""
    kind, material = [*line.split(), "", ""][:2]
    try:
        blob = base64.b64decode(material, validate=True)
    except ValueError:
        return False
    return bool(kind) and blob[4 : 4 + int.from_bytes(blob[:4])] == kind.encode()


def public_half(path: Path) -> Path:
    """The file of a public key, of which either half was named."""
    return path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")


def install_key(session: Session, line: str) -> bool:
    """Let the holder of a public key log in; whether that was not so already.

    Nothing else in authorized_keys is touched; its mode and owner stay.

    Raises:
        UnfitError: it could not be written.
    """
    ran = session.run(_INSTALL_KEY, f"{line}\n")
    said = ran.stdout.split()[-1:]
    if ran.code or said not in (["present"], ["installed"]):
        raise UnfitError(
            f"The key could not be installed: {ran.words}",
            "Is the home folder of this user there, writable, and its disk not full?",
        )
    return said == ["installed"]


def has_sudo(session: Session, user: str) -> bool:
    """Whether the user becomes root without a password.

    Raises:
        UnfitError: there is no sudo at all.
    """
    said = session.run(_SUDO).stdout.split()
    if said[-1:] == ["missing"]:
        raise UnfitError(
            f"There is no sudo on the host, and {user} is not root.",
            "Install sudo there and allow it to the user, or log in as root: --user root",
        )
    return said[-1:] in (["root"], ["free"])


def must_not_ask(user: str) -> UnfitError:
    """The error for a user who has to type a password for sudo, or may not use it."""
    return UnfitError(
        f"{user} cannot use sudo without a password, and at night there is nobody to type one.",
        "Add --passwordless-sudo, which asks for the user's password this once; or on the host: "
        f"echo '{user} ALL=(ALL:ALL) NOPASSWD: ALL' | sudo tee {sudoers(user)}",
    )


def allow_sudo(session: Session, user: str, password: str) -> None:
    """Let the user use sudo without a password from now on.

    Raises:
        UnfitError: sudo refused the password or the user.
    """
    line = shlex.quote(f"{user} ALL=(ALL:ALL) NOPASSWD: ALL")
    script = _ALLOW_SUDO.format(line=line, target=shlex.quote(sudoers(user)))
    ran = session.run(f"sudo -S -p '' sh -c {shlex.quote(script)}", f"{password}\n")
    if ran.code:
        raise UnfitError(
            f"sudo did not let {user} become root: {ran.words or 'without a word'}",
            "Check the password; on the host, let the user use sudo (group sudo or wheel).",
        )


def sudoers(user: str) -> str:
    """The file that says so; sudo passes over names with a dot."""
    return f"/etc/sudoers.d/gpuhost-{re.sub(r'[^A-Za-z0-9_-]', '_', user)}"


def python_version(session: Session) -> str:
    """The version of the Python that Ansible and the probe will find.

    Raises:
        UnfitError: there is none that is new enough.
    """
    found: list[str] = re.findall(r"^\d+\.\d+\.\d+$", session.run(_PYTHON).stdout, re.MULTILINE)
    for version in found:
        if _numbers(version) >= LEAST_PYTHON:
            return version
    least = ".".join(map(str, LEAST_PYTHON))
    raise UnfitError(
        f"The newest Python on the host is {max(found, key=_numbers)}, and {least} is needed."
        if found
        else "There is no Python on the host.",
        "Install one: apt-get install python3, or dnf install python3.12",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
