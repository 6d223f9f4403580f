"""The rehearsal lab: GPU hosts on this machine whose GPUs, and nothing else, are simulated.

A lab host is a server of its own with Debian's programs: systemd, sshd, apt against signed
repositories, dockerd, reboots. It runs as a systemd-nspawn container, so the
lab takes root and Debian packages, and no hypervisor.
"""

from gpuhost.lab.add_image import add_image
from gpuhost.lab.bring_up import up
from gpuhost.lab.inside import attempt, execute
from gpuhost.lab.keys import password
from gpuhost.lab.listing import LabHost, list_hosts, onboard_options, ssh_argv
from gpuhost.lab.power import power_off, reboot
from gpuhost.lab.releases import RELEASES
from gpuhost.lab.requirements import check_requirements
from gpuhost.lab.take_down import down, down_all

__all__ = [
    "RELEASES",
    "LabHost",
    "add_image",
    "attempt",
    "check_requirements",
    "down",
    "down_all",
    "execute",
    "list_hosts",
    "onboard_options",
    "password",
    "power_off",
    "reboot",
    "ssh_argv",
    "up",
]
