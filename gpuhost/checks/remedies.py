"""Commands that more than one check advises."""

from __future__ import annotations

DOCKER_LOGS = "systemctl status docker.service; journalctl -u docker.service -n 50"
START_DOCKER = f"systemctl enable --now docker.service; {DOCKER_LOGS}"
RESTART_DOCKER = "systemctl restart docker.service"
REFRESH_CDI = "systemctl restart nvidia-cdi-refresh.service"
REGISTER_RUNTIME = f"nvidia-ctk runtime configure --runtime=docker && {RESTART_DOCKER}"
REBOOT = "systemctl reboot"
RESET_GPU = "nvidia-smi --gpu-reset -i"
# Stands in a remedy for the host's name in the inventory, which the evidence does not know.
HOST = "<host>"
PROVISION = f"gpuhost provision {HOST}"
VERIFY = f"gpuhost verify {HOST}"
CHANGE_TOOLKIT = (
    "Declare another nvidia_container_toolkit_version (see NVIDIA's release notes for fixed "
    f"isolation faults), then: {PROVISION}"
)
