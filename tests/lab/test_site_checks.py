"""A site's own checks against a real host: over ssh, as root, in the same report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import yaml
from support.lab import Lab

from gpuhost.site_checks import FOLDER

CHECKS = '''
def test_only_root_may_read_the_shadows(host):
    assert "root:" in host.file("/etc/shadow").content_string

def test_scratch_is_mounted(host):
    """/scratch is a file system of its own."""
    assert host.mount_point("/scratch").exists, "/scratch is not mounted"
'''


def test_they_stand_in_the_report_beside_the_checks(lab: Lab, provisioned: str) -> None:
    folder = lab.project / "inventories" / FOLDER
    folder.mkdir()
    try:
        (folder / "test_ours.py").write_text(CHECKS)
        verified = lab.verify(provisioned)
    finally:
        shutil.rmtree(folder)
    assert verified.verdict("site.only_root_may_read_the_shadows") == "PASS"
    assert verified.bad == {"site.scratch_is_mounted": "FAIL: /scratch is not mounted"}
    assert verified.code == 1


BOB = """\
useradd -m -s /bin/bash bob; printf 'bob:%s' "$1" | chpasswd; rm -f /etc/sudoers.d/bob
printf 'bob ALL=(ALL) ALL' >/etc/sudoers.d/bob
cp -r ~ops/.ssh /home/bob/; chown -R bob /home/bob/.ssh
"""
PASSWORD = "s3cret-of-bob"


@pytest.fixture
def with_a_sudo_password(lab: Lab, provisioned: str) -> Iterator[str]:
    """The host, reached as a user whom sudo asks for a password."""
    lab.exec(provisioned, ["bash", "-c", BOB, "bash", PASSWORD])
    folder = lab.project / "inventories/lab/host_vars"
    folder.mkdir(exist_ok=True)
    variables = folder / f"{provisioned}.yml"
    access = {"ansible_user": "bob", "ansible_become_password": PASSWORD}
    variables.write_text(yaml.safe_dump(access))
    try:
        yield provisioned
    finally:
        variables.unlink()
        lab.exec(provisioned, ["bash", "-c", "userdel -rf bob; rm /etc/sudoers.d/bob"])


@pytest.mark.slow
def test_they_become_root_by_a_password_as_well(lab: Lab, with_a_sudo_password: str) -> None:
    folder = lab.project / "inventories" / FOLDER
    folder.mkdir()
    try:
        (folder / "test_ours.py").write_text(CHECKS)
        verified = lab.verify(with_a_sudo_password)
    finally:
        shutil.rmtree(folder)
    assert verified.verdict("site.only_root_may_read_the_shadows") == "PASS"
    assert verified.bad == {"site.scratch_is_mounted": "FAIL: /scratch is not mounted"}
