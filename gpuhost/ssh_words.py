"""What kept Ansible from working on a host, told from the words of OpenSSH, sudo and Ansible.

Pure. The words are those of OpenSSH 9.2 and sudo 1.9 as Ansible 2.19 passes
them on; ``tests/unit/engine/recorded`` holds recordings of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why a host did not come through; FAILED is all that has no kind of its own."""

    HOST_KEY_CHANGED = "host key changed"
    HOST_KEY_UNKNOWN = "host key unknown"
    PERMISSION_DENIED = "permission denied"
    PRIVATE_KEY = "private key unusable"
    NAME = "name not found"
    NO_ROUTE = "no answer"
    REFUSED = "connection refused"
    CLOSED = "connection closed"
    NO_AGREEMENT = "no common algorithm"
    SSHPASS = "sshpass missing"
    SUDO_PASSWORD = "sudo password"  # noqa: S105  (a kind of failure, no password)
    SUDO_RIGHTS = "no sudo rights"
    SUDO_MISSING = "sudo missing"
    PYTHON = "no Python"
    REMOTE_TMP = "no temporary folder"
    UNREACHABLE = "unreachable"
    NOT_ATTEMPTED = "not attempted"
    FAILED = "failed"


@dataclass(frozen=True)
class Sign:
    """Words that tell a cause, and the remedy; ``{name}`` in it is a group of the pattern."""

    pattern: str
    cause: Cause
    remedy: str


# Words of a host that is unreachable to Ansible. The first sign that matches
# holds, so what explains comes before what follows from it.
CONNECTION_SIGNS = (
    Sign(
        r"(?:(?P<command>ssh-keygen -f [^\n]+)\n)?Host key for \S+ has changed",
        Cause.HOST_KEY_CHANGED,
        "If the host was reinstalled, forget its old key with: {command}. "
        "Then add the new one after comparing its fingerprint on the host's console. "
        "If it was not, somebody may be in between: do not connect.",
    ),
    Sign(
        r"host key is known for (?P<address>\S+)|Host key verification failed",
        Cause.HOST_KEY_UNKNOWN,
        "Connect once by hand with ssh, compare the fingerprint with the one on the host's console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and accept it, "
        "or add the key to known_hosts.",
    ),
    Sign(
        r"Permissions \d+ for '(?P<file>[^']+)' are too open",
        Cause.PRIVATE_KEY,
        "Keep the private key to yourself: chmod 600 {file}",
    ),
    Sign(
        r"no such identity: (?P<file>[^\r\n]+?): No such file",
        Cause.PRIVATE_KEY,
        "There is no {file}: correct ansible_ssh_private_key_file in the inventory.",
    ),
    Sign(
        r"sshpass",
        Cause.SSHPASS,
        "Use a key instead of ansible_password, or install sshpass here.",
    ),
    Sign(
        r"(?P<login>\S+): Permission denied \(|Too many authentication failures",
        Cause.PERMISSION_DENIED,
        "Check ansible_user and ansible_ssh_private_key_file in the inventory, "
        "and install the key with: ssh-copy-id {login}",
    ),
    Sign(
        r"Could not resolve hostname (?P<address>[^:\s]+)",
        Cause.NAME,
        "Nothing is known of the name {address}: correct ansible_host in the inventory, or DNS.",
    ),
    Sign(
        r"Connection refused",
        Cause.REFUSED,
        "The host is up, but no SSH server listens there: check ansible_port, "
        "and on its console: systemctl status ssh",
    ),
    Sign(
        r"timed out|No route to host|Network is unreachable|Host is down",
        Cause.NO_ROUTE,
        "Is the host powered on, its address (ansible_host) right, and no firewall in between?",
    ),
    Sign(
        r"Unable to negotiate with .*no matching (?P<what>[^.]+?) found",
        Cause.NO_AGREEMENT,
        "The host's SSH server and this machine share no {what}: update the older of the two.",
    ),
    Sign(
        r"kex_exchange_identification|Connection (?:closed|reset) by|Broken pipe|"
        r"Connection to \S+ closed by remote host",
        Cause.CLOSED,
        "The host's SSH server hung up. It may be starting, stopping, overloaded (MaxStartups) or "
        "barring this machine: try again, then see journalctl -u ssh on the host.",
    ),
    Sign(
        r"Failed to create temporary directory",
        Cause.REMOTE_TMP,
        "Is the host's disk full or the user's home read-only? See df -h on the host, "
        "or set ansible_remote_tmp.",
    ),
    Sign(
        r"Data could not be sent to remote host",
        Cause.CLOSED,
        "The connection broke while the host was at work: it went down or rebooted, or the network "
        "failed. Look how long it is up (uptime -s), then run this again.",
    ),
)

# Words of a task that failed, but not for what it was to do.
LOGIN_SIGNS = (
    Sign(
        r"^(?:Missing|Incorrect) \S+ password|^Timeout .*privilege escalation|"
        r"sudo: a (?:password|terminal) is required|sudo: \d+ incorrect password",
        Cause.SUDO_PASSWORD,
        "Give the user sudo without a password, or put the right ansible_become_password "
        "into the vault.",
    ),
    Sign(
        r"(?P<user>\S+) is not (?:in the sudoers file|allowed to (?:run sudo|execute))",
        Cause.SUDO_RIGHTS,
        "Let {user} use sudo on the host, or choose another ansible_user.",
    ),
    Sign(
        r"sudo: (?:command )?not found",
        Cause.SUDO_MISSING,
        "Install sudo on the host, or connect as root.",
    ),
    Sign(
        r"module interpreter '[^']+' was not found",
        Cause.PYTHON,
        "Install python3 on the host, or correct ansible_python_interpreter.",
    ),
)

WRAPPERS = (
    r"^Task failed: ",
    r"^(?:Module|Action) failed: ",
    r"^Failed to connect to the host via ssh: ",
    r'^Data could not be sent to remote host "[^"]*"\. Make sure [^:]* over ssh: ',
)


STANDING_PHRASES = (
    r"^@.*@$|^IT IS POSSIBLE THAT|^Someone could be|^It is also possible|^Please contact your|"
    r"^Add correct host key|^Offending \S+ key|^remove with:$|^It is required that|"
    r"^This private key will be|^ControlSocket \S+ already exists|^Shared connection to|"
    r"^Warning: Permanently added"
)


def unreachable(words: str) -> tuple[Cause, str]:
    """The cause why a host could not be reached, and its remedy."""
    return _diagnose(words, CONNECTION_SIGNS) or (
        Cause.UNREACHABLE,
        "Try to log in by hand, as the same user: ssh USER@HOST",
    )


def failed(words: str) -> tuple[Cause, str]:
    """The cause why a task failed, and its remedy, if there is one to be told."""
    return _diagnose(words, LOGIN_SIGNS) or (Cause.FAILED, "")


def _diagnose(words: str, signs: tuple[Sign, ...]) -> tuple[Cause, str] | None:
    for sign in signs:
        match = re.search(sign.pattern, words, re.DOTALL)
        if match:
            return sign.cause, _fill(sign.remedy, match)
    return None


def unwrapped(words: str) -> str:
    """The words without what Ansible puts before them, and without ssh's standing phrases."""
    for wrapper in WRAPPERS:
        words = re.sub(wrapper, "", words)
    lines = [line.strip() for line in words.splitlines()]
    return "\n".join(line for line in lines if line and not re.search(STANDING_PHRASES, line))


def _fill(remedy: str, match: re.Match[str]) -> str:
    found = {name: value for name, value in match.groupdict().items() if value}
    defaults = {"command": "ssh-keygen -R HOST", "login": "USER@HOST"}
    return remedy.format_map(defaults | found)
