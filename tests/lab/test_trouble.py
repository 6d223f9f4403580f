"""A host that gets into trouble while it is verified: an end in time, and words for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from support.lab import NOUVEAU, Lab

OURS = ["docker", "ps", "-aq", "--filter", "label=gpuhost.trial"]
FILL = (
    "rm -rf /var/lib/gpuhost/gpuhost-probe*; "
    "mount -t tmpfs -o size=64k tmpfs /var/lib/gpuhost; "
    "dd if=/dev/zero of=/var/lib/gpuhost/fill bs=1k count=100 2>/dev/null || true"
)
END_S = 120
INSTALLED = ["dpkg-query", "-W"]
# A package of somebody's own, with a file that the driver's package has too.
SITE_TOOLS = """\
mkdir -p /root/site-tools/DEBIAN /root/site-tools/usr/bin
cd /root
cat >site-tools/DEBIAN/control <<END
Package: site-tools
Version: 1
Architecture: all
Maintainer: ops <ops@example.com>
Description: tools of this site
END
touch site-tools/usr/bin/nvidia-smi
dpkg-deb --build site-tools
dpkg --install site-tools.deb
"""


@pytest.mark.slow
def test_a_host_that_reboots_meanwhile_is_unknown_and_keeps_no_container(
    lab: Lab, provisioned: str
) -> None:
    words = [sys.executable, "-m", "gpuhost", "verify", provisioned, "--json", "--quiet"]
    run = subprocess.Popen(words, cwd=lab.project, stdout=subprocess.PIPE, text=True)
    give_up = time.monotonic() + END_S
    while not lab.exec(provisioned, OURS):
        assert run.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
    lab.exec(provisioned, ["systemctl", "reboot", "--no-block"])
    stdout, _ = run.communicate(timeout=END_S)
    (host,) = json.loads(stdout)["hosts"]
    assert run.returncode == 3
    assert host["verdict"] == "UNKNOWN"
    assert host["error"]["message"]
    assert host["error"]["remedy"]
    again = lab.verify(provisioned)
    while again.bad and time.monotonic() < give_up:
        time.sleep(1)
        again = lab.verify(provisioned)
    assert again.bad == {}
    assert lab.exec(provisioned, OURS) == ""


def test_a_disk_without_space_for_the_probe_is_told_with_what_to_do(
    lab: Lab, provisioned: str
) -> None:
    lab.exec(provisioned, ["sh", "-c", FILL])
    try:
        verified = lab.verify(provisioned)
    finally:
        lab.exec(provisioned, ["umount", "/var/lib/gpuhost"])
    assert verified.code == 3
    assert "No space left on device" in verified.host["error"]["message"]
    assert "df -h" in verified.host["error"]["message"]


def test_versions_that_no_repository_has_stop_a_run_before_anything_is_installed(lab: Lab) -> None:
    host = lab.up("lab-37", "--gpus", "1")
    versions = {"docker_ce_version": "99.9", "nvidia_container_toolkit_version": "0.1-1"}
    packages, nouveau = lab.exec(host, INSTALLED), lab.exec(host, NOUVEAU)
    assert nouveau.startswith("nouveau")
    with lab.variables(host, versions):
        failed = lab.run("provision", host, "--yes", "--json")
    (report,) = failed.document["hosts"]
    assert failed.code == 1
    said = report["error"]["message"]
    assert "nothing was installed" in said
    assert "docker-ce, docker-ce-cli: no repository has 99.9, but 5:26.1.5-1" in said
    assert "libnvidia-container1: no repository has 0.1-1, but 1.20.0-1" in said
    assert "nvidia_container_toolkit_version chooses among them" in said
    assert report["error"]["state"] == "nothing had been changed before that"
    assert lab.exec(host, INSTALLED) == packages
    assert lab.exec(host, NOUVEAU) == nouveau


@pytest.mark.slow
def test_a_file_of_another_package_is_named_and_the_way_told_leads_to_a_good_host(
    lab: Lab,
) -> None:
    host = lab.up("lab-36", "--gpus", "1")
    lab.exec(host, ["sh", "-ec", SITE_TOOLS])
    failed = lab.run("provision", host, "--yes", "--json")
    (report,) = failed.document["hosts"]
    error = report["error"]["message"]
    assert failed.code == 1
    assert "trying to overwrite '/usr/bin/nvidia-smi', which is also in package site-tools" in error
    assert error.splitlines()[-1].endswith("apt-get --fix-broken install")
    assert report["error"]["state"] == "nothing had been changed before that"
    assert report["error"]["remedy"].endswith(f"gpuhost provision {host}")
    log = (lab.project / "state/gpuhost/runs/latest/log.txt").read_text()
    assert "also in package site-tools" in log
    stopped = lab.run("provision", host, "--yes")
    assert "broken-packages" in stopped.stdout + stopped.stderr
    lab.exec(host, ["sh", "-ec", "dpkg --remove site-tools; apt-get --fix-broken install -y"])
    lab.ok("provision", host, "--yes")
