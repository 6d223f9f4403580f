"""Faults of boards that not every host has: NVSwitches, divided GPUs."""

from __future__ import annotations

from gpuhost.lab.faults.registry import REFRESH_CDI, TRIALS, Fault

SWITCH_BOARD = "H100-HGX"

_SERVICE = "nvidia-fabricmanager.service"
_START = f"systemctl reset-failed {_SERVICE}; systemctl start {_SERVICE}"
_APT = (
    "apt-get -qq update && "
    "DEBIAN_FRONTEND=noninteractive apt-get --yes --allow-change-held-packages install"
)

FAULTS = (
    Fault(
        name="fabric-manager-stopped",
        area="driver",
        about="the fabric manager of the NVSwitches does not run",
        make=f"systemctl stop {_SERVICE}",
        mend=_START,
        check="driver.fabric_manager",
        cause="not enabled, or it failed",
        remedy=f"systemctl enable --now {_SERVICE}",
        consequences=("gpu.fabric",),
        model=SWITCH_BOARD,
    ),
    Fault(
        name="fabric-manager-of-another-version",
        area="driver",
        about="the fabric manager was changed without the driver, and refuses to work",
        make=f"{_APT} nvidia-fabricmanager-550- nvidia-fabricmanager-535 && "
        f"{{ {_START} || true; }}",
        mend=f"{_APT} nvidia-fabricmanager-535- nvidia-fabricmanager-550 && "
        f"apt-mark hold nvidia-fabricmanager-550 && {{ {_START}; }}",
        check="driver.fabric_manager",
        cause="upgraded without the other",
        remedy="apt-get install nvidia-fabricmanager",
        consequences=("gpu.fabric", "driver.held"),
        model=SWITCH_BOARD,
    ),
    Fault(
        name="mig-without-cdi",
        area="cdi",
        about="GPU 1 was divided by hand, and the CDI specification is from before that",
        make="nvidia-smi -i 1 -mig 1 && nvidia-smi mig -i 1 -cgi 9,9 -C",
        mend="nvidia-smi mig -i 1 -dci; nvidia-smi mig -i 1 -dgi; nvidia-smi -i 1 -mig 0; "
        f"{REFRESH_CDI}",
        check="cdi.matches",
        cause="MIG changed after it was generated",
        remedy="nvidia-cdi-refresh",
        consequences=TRIALS,
    ),
)
