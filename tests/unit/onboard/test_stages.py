"""From an address to an entry, stage by stage, and what is left of it when one fails."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from support.login_host import LoginHost

from gpuhost import inventory
from gpuhost.errors import GpuhostError, InventoryError
from gpuhost.onboard import look, progress, spot
from gpuhost.onboard.access import UnfitError
from gpuhost.onboard.host_key import HostKey, HostKeyError, Place, read
from gpuhost.onboard.login import LoginError
from gpuhost.onboard.look import Found
from gpuhost.onboard.progress import BusyError
from gpuhost.onboard.spot import Spot
from gpuhost.onboard.stages import Onboarding, Order
from gpuhost.settings import Settings
from gpuhost.ui import Ui

SITE = "# ours\ngpu_hosts:\n  hosts:\n    gpu-01: {ansible_host: 192.0.2.11}  # the first\n"
FOUND = Found("Debian 12", "6.1.0", False, 4)


@dataclass
class Person:
    """Answers, and remembers what was asked."""

    word: str = "open sesame"
    asked: list[str] = field(default_factory=list)
    trusts: bool = True

    def trust(self, place: Place, key: HostKey) -> None:
        self.asked.append(f"trust {place} {key.fingerprint}")
        if not self.trusts:
            raise HostKeyError("not trusted")

    def password(self) -> str:
        self.asked.append("password")
        return self.word


class Said(Ui):
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Site:
    """A project with an inventory, and one host to onboard into it."""

    def __init__(self, folder: Path, order: Order) -> None:
        self.folder = folder / "inventories"
        self.folder.mkdir()
        self.file = self.folder / "hosts.yml"
        self.file.write_text(SITE)
        self.settings = Settings(folder, self.file, folder / "state", 5)
        self.order = order
        self.person = Person()
        self.ui = Said()

    @property
    def spot(self) -> Spot:
        return spot.find(self.settings, self.order.name, None)

    def admit(self, **changes: Any) -> None:
        order = replace(self.order, **changes)
        identity = {"address": order.place.address, "user": order.user}
        with progress.begin(self.settings.state_dir, order.name, identity) as kept:
            Onboarding(order, self.spot, kept, self.ui, self.person).admit()

    @property
    def known_hosts(self) -> str:
        path = self.folder / "known_hosts"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The variables that the host was looked at with."""
    made: list[dict[str, Any]] = []

    def look_(_name: str, variables: dict[str, Any], _ui: Ui) -> Found:
        made.append(variables)
        return FOUND

    monkeypatch.setattr(look, "look", look_)
    return made


@pytest.fixture
def site(server: LoginHost, place: Place, tmp_path: Path, looks: list[dict[str, Any]]) -> Site:
    del looks
    server.program("id", "echo 1000")
    server.program("sudo", '[ "$1" = -n ] && shift; "$@"')
    server.program("true", ":")
    key = server.login.with_suffix(".pub")
    return Site(tmp_path, Order("gpu-07", place, "ops", install_key=key, by_password=True))


def test_a_host_comes_into_the_inventory_with_two_questions(
    site: Site, server: LoginHost, looks: list[dict[str, Any]]
) -> None:
    site.admit()
    key = read(site.order.place)
    assert site.person.asked == [f"trust {site.order.place} {key.fingerprint}", "password"]
    assert site.known_hosts == f"{site.order.place.spec} {key.kind} {key.material}\n"
    assert server.authorized_keys.read_text() == server.login.with_suffix(".pub").read_text()
    (variables,) = looks
    assert variables["ansible_ssh_private_key_file"] == str(server.login)
    assert site.file.read_text() == (
        f"{SITE}    gpu-07:\n      ansible_host: 127.0.0.1\n"
        f"      ansible_port: {site.order.place.port}\n      ansible_user: ops\n"
        f"      ansible_ssh_private_key_file: {server.login}\n"
        "      ansible_ssh_common_args: "
        "-o 'UserKnownHostsFile=\"{{ inventory_dir }}/known_hosts\"' "
        "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes\n"
        "      gpuhost_gpu_count: 4\n"
    )


def test_openssh_gets_in_with_what_was_written(site: Site) -> None:
    site.admit()
    host = inventory.load(site.file).select(["gpu-07"], spot.CONNECTION)[0]
    words = [
        *("ssh", "-F", "none", "-o", "BatchMode=yes", "-p", str(site.order.place.port)),
        *("-i", host.variables["ansible_ssh_private_key_file"]),
        *subprocess.run(
            ["xargs", "-n1"],
            input=host.variables["ansible_ssh_common_args"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines(),
        *("ops@127.0.0.1", "cat"),
    ]
    done = subprocess.run(words, input="hello", capture_output=True, text=True, check=False)
    assert done.stdout == "hello", done.stderr


def test_a_second_run_asks_nothing_and_changes_nothing(site: Site) -> None:
    site.admit()
    before, site.person.asked = site.file.read_text(), []
    site.admit()
    assert site.file.read_text() == before
    assert site.person.asked == []
    assert site.ui.lines[-1] == "gpu-07: goes on after: host key, login, access, look, entry"


def test_a_run_that_was_cut_off_goes_on_where_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(look, "look", die)
        with pytest.raises(KilledError):
            site.admit()
    assert site.file.read_text() == SITE
    site.person.asked = []
    with monkeypatch.context() as patch:
        patch.setattr(Spot, "write", die)
        with pytest.raises(KilledError):
            site.admit()
    assert site.file.read_text() == SITE
    site.admit()
    assert "gpu-07:" in site.file.read_text()
    assert site.person.asked == []


def test_a_fingerprint_that_was_given_is_not_asked_about(site: Site) -> None:
    site.admit(fingerprint=read(site.order.place).fingerprint)
    assert site.person.asked == ["password"]


def nothing_is_left(site: Site, server: LoginHost) -> bool:
    return (
        site.file.read_text() == SITE
        and site.known_hosts == ""
        and not server.authorized_keys.exists()
    )


def test_a_wrong_fingerprint_ends_it_before_anything_is_sent(site: Site, server: LoginHost) -> None:
    with pytest.raises(HostKeyError, match=r"gpu-07: .* Nothing was trusted"):
        site.admit(fingerprint=f"SHA256:{'A' * 43}")
    assert nothing_is_left(site, server)
    assert site.person.asked == []


def test_a_key_that_nobody_trusts_is_not_pinned(site: Site, server: LoginHost) -> None:
    site.person.trusts = False
    with pytest.raises(HostKeyError):
        site.admit()
    assert nothing_is_left(site, server)


def test_a_host_key_that_has_changed_ends_it_also_in_a_later_run(
    site: Site, server: LoginHost
) -> None:
    site.person.word = "wrong"
    with pytest.raises(LoginError, match=r"gpu-07: .* with this password"):
        site.admit()
    assert site.file.read_text() == SITE
    assert not server.authorized_keys.exists()
    path = site.folder / "known_hosts"
    other = server.folder / "login.pub"
    kind, material, *_ = other.read_text().split()
    path.write_text(f"{site.order.place.spec} {kind} {material}\n")
    site.person.word, site.person.asked = "open sesame", []
    with pytest.raises(HostKeyError, match="has changed"):
        site.admit()
    assert site.person.asked == []


def test_a_wrong_password_can_be_corrected_in_the_next_run(site: Site) -> None:
    site.person.word = "wrong"
    with pytest.raises(LoginError):
        site.admit()
    site.person.word, site.person.asked = "open sesame", []
    site.admit()
    assert site.person.asked == ["password"]


def test_sudo_that_asks_ends_it_unless_it_is_to_be_allowed(site: Site, server: LoginHost) -> None:
    server.program("sudo", '[ "$1" = -n ] && exit 1; read -r word; echo "$word" > word')
    with pytest.raises(UnfitError, match="cannot use sudo without a password") as raised:
        site.admit()
    assert "--passwordless-sudo" in raised.value.remedy
    assert site.file.read_text() == SITE
    site.person.asked = []
    site.admit(passwordless_sudo=True)
    assert (server.home / "word").read_text() == "open sesame\n"
    assert site.person.asked == ["password"]


def test_a_name_that_is_taken_is_refused_before_anything_is_sent(
    site: Site, server: LoginHost
) -> None:
    site.order = replace(site.order, name="gpu-01")
    with pytest.raises(InventoryError, match=r"gpu-01 is in .* already"):
        site.admit()
    assert nothing_is_left(site, server)


def test_what_an_onboarding_with_another_address_has_done_does_not_count(site: Site) -> None:
    site.admit()
    site.order = replace(site.order, place=Place("192.0.2.99"))
    with pytest.raises(InventoryError, match="already"):
        site.admit()


@pytest.mark.parametrize("error", [GpuhostError("no GPU"), KeyboardInterrupt()])
def test_a_host_that_is_not_fit_is_not_in_the_inventory(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(look, "look", refuse)
    with pytest.raises(type(error)):
        site.admit()
    assert site.file.read_text() == SITE


def test_one_onboarding_of_a_host_at_a_time(tmp_path: Path) -> None:
    with (
        progress.begin(tmp_path, "gpu-07", {}),
        pytest.raises(BusyError, match="Another"),
        progress.begin(tmp_path, "gpu-07", {}),
    ):
        pass
    with progress.begin(tmp_path, "gpu-07", {}), progress.begin(tmp_path, "gpu-08", {}):
        pass


def test_a_restart_forgets_the_stages_but_not_whose_entry_it_is(site: Site) -> None:
    site.admit()
    identity = {"address": site.order.place.address, "user": "ops"}
    with progress.begin(site.settings.state_dir, "gpu-07", identity) as kept:
        kept.restart(but="entry")
    before, site.person.asked = site.file.read_text(), []
    site.admit()
    assert site.person.asked == ["password"]
    assert site.file.read_text() == before
