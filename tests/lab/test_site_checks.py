"""A site's own checks against a real host: over ssh, as root, in the same report."""

from __future__ import annotations

import shutil

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
