from __future__ import annotations

import pytest

from gpuhost.probe.upkeep import apt_upgrades, dnf_upgrades, newest

SIMULATED = """\
NOTE: This is only a simulation!
Reading package lists...
The following packages will be upgraded:
Inst libnvidia-ml1 [550.163.01-1] (580.178.04-1 NVIDIA:13.0 [amd64]) []
Inst docker-ce [5:29.7.2-1~debian.12~bookworm] (5:29.8.2-1~debian.12~bookworm Docker CE:12 [amd64])
Inst curl [7.88.1-10] (7.88.1-11 Debian-Security:12/stable-security [amd64])
Inst nvidia-new (1.0 NVIDIA:13.0 [amd64])
Conf libnvidia-ml1 (580.178.04-1 NVIDIA:13.0 [amd64])
"""
CHECK_UPDATE = """\

docker-ce.x86_64            3:29.8.2-1.el9            docker-ce-stable
kernel-core.x86_64          5.14.0-600.el9            baseos
nvidia-driver-cuda.x86_64   3:580.178.04-1.el9        cuda-rhel9-x86_64
Obsoleting Packages
"""


def test_a_simulated_upgrade_tells_which_watched_packages_it_replaces() -> None:
    assert apt_upgrades(SIMULATED) == [
        {"name": "libnvidia-ml1", "installed": "550.163.01-1", "candidate": "580.178.04-1"},
        {
            "name": "docker-ce",
            "installed": "5:29.7.2-1~debian.12~bookworm",
            "candidate": "5:29.8.2-1~debian.12~bookworm",
        },
    ]


def test_dnf_tells_which_watched_packages_have_updates() -> None:
    found = [(each["name"], each["candidate"]) for each in dnf_upgrades(CHECK_UPDATE)]
    assert found == [
        ("docker-ce", "3:29.8.2-1.el9"),
        ("nvidia-driver-cuda", "3:580.178.04-1.el9"),
    ]


@pytest.mark.parametrize(
    ("kernels", "highest"),
    [
        (["6.1.0-9-amd64", "6.1.0-40-amd64"], "6.1.0-40-amd64"),
        (["5.14.0-503.el9.x86_64", "5.14.0-70.13.1.el9.x86_64"], "5.14.0-503.el9.x86_64"),
        (["6.8.0-9-generic", "6.11.0-1-generic", "6.8.0-100-generic"], "6.11.0-1-generic"),
        ([], None),
    ],
)
def test_the_next_boot_takes_the_highest_kernel(kernels: list[str], highest: str | None) -> None:
    assert newest(kernels) == highest
