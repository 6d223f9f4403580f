"""Faults around the GPUs: images, registry, network, users, disks, the clock."""

from __future__ import annotations

from gpuhost.lab.faults.registry import RESTART_DOCKER, TRIALS, Fault, edited, kernel, moved_away

_DOCKER_DISK = "/var/lib/docker"
# Images come from the registry again only if the host does not have them.
_FORGET_IMAGES = "docker images -q | sort -u | xargs -r docker rmi -f >/dev/null"
_HOSTS = "/etc/hosts"
# dockerd goes by what it read there for five seconds more.
_NAMELESS = edited(
    _HOSTS, f"sed '/registry\\|docker.io\\|nvcr/d' {_HOSTS}.fault >{_HOSTS}; {RESTART_DOCKER}"
)
_CERTIFICATES = "/etc/ssl/certs"
_PUT_BACK = f"mv {_CERTIFICATES}.fault {_CERTIFICATES}; {RESTART_DOCKER}"
# The lab's defaults, which its inventory does not change.
_CUDA, _NGC = "nvidia/cuda:13.0.3-base-ubuntu24.04", "nvcr.io/nvidia/pytorch:26.08-py3"
_PULLED = ("container.*", "partition.*")


def _unpullable(
    name: str, area: str, about: str, scripts: tuple[str, str], words: tuple[str, str]
) -> Fault:
    """A fault that keeps the images from being pulled anew."""
    make, mend = scripts
    cause, remedy = words
    return Fault(
        name=name,
        area=area,
        about=about,
        make=f"{make}; {_FORGET_IMAGES}",
        mend=mend,
        check="container.cuda",
        cause=cause,
        remedy=remedy,
        consequences=_PULLED,
    )


FAULTS = (
    _unpullable(
        "registry-unknown-name",
        "network",
        "the registry's name does not resolve",
        (
            _NAMELESS[0],
            f"[ ! -e {_HOSTS}.fault ] || {{ {_NAMELESS[1]}; {RESTART_DOCKER}; }}",
        ),
        ("cannot reach the registry", "curl"),
    ),
    _unpullable(
        "registry-refuses",
        "network",
        "the registry's address refuses connections",
        (
            "iptables -w -I OUTPUT -p tcp --dport 443 -j REJECT --reject-with tcp-reset",
            "iptables -w -D OUTPUT -p tcp --dport 443 -j REJECT --reject-with tcp-reset; true",
        ),
        ("cannot reach the registry", "curl"),
    ),
    _unpullable(
        "registry-untrusted",
        "registry",
        "the host does not trust the registry's certificate",
        (
            f"mv {_CERTIFICATES} {_CERTIFICATES}.fault; mkdir {_CERTIFICATES}; {RESTART_DOCKER}",
            f"[ ! -e {_CERTIFICATES}.fault ] || {{ rm -rf {_CERTIFICATES}; {_PUT_BACK}; }}",
        ),
        ("does not trust", "certs.d"),
    ),
    Fault(
        name="disk-full",
        area="disk",
        about="the disk of docker's images is full",
        make="systemctl stop docker.socket docker.service; "
        f"mount -t tmpfs -o size=300m,mode=710 tmpfs {_DOCKER_DISK}; "
        "systemctl reset-failed docker.service docker.socket; systemctl start docker.service; "
        f"dd if=/dev/zero of={_DOCKER_DISK}/fill bs=1M count=400 2>/dev/null || true",
        mend=f"systemctl stop docker.socket docker.service; if grep -q ' {_DOCKER_DISK} tmpfs ' "
        f"/proc/mounts; then umount -l {_DOCKER_DISK}; fi; {RESTART_DOCKER}",
        check="host.disk",
        cause="used it up",
        remedy="docker system prune",
        consequences=(*TRIALS, "docker.*"),
    ),
    Fault(
        name="boot-full",
        area="disk",
        about="/boot is full: the next kernel or initramfs can't be written",
        make="mountpoint -q /boot || { mount -t tmpfs -o size=64m tmpfs /boot; "
        "dd if=/dev/zero of=/boot/fill bs=1M count=60 2>/dev/null; }",
        mend="if mountpoint -q /boot; then umount -l /boot; fi",
        check="host.disk",
        cause="old kernels",
        remedy="autoremove",
    ),
    Fault(
        name="user-not-in-group",
        area="users",
        about="alice is not in the docker group any more",
        make="gpasswd -d alice docker",
        mend="gpasswd -a alice docker",
        check="users.docker_group",
        cause="never added",
        remedy="usermod -aG docker alice",
        consequences=("partition.user",),
    ),
    Fault(
        name="user-gone",
        area="users",
        about="alice was deleted",
        make="sed -i.fault '/^alice:/d' /etc/passwd; gpasswd -d alice docker || true",
        mend=f"{moved_away('/etc/passwd')[1]}; gpasswd -a alice docker",
        check="users.docker_group",
        cause="never added",
        remedy="useradd",
        consequences=("partition.user", "container.*"),
    ),
    Fault(
        name="socket-closed",
        area="users",
        about="docker's socket belongs to root alone",
        make="chgrp root /run/docker.sock",
        mend="chgrp docker /run/docker.sock",
        check="partition.user",
        cause="may not use docker's socket",
        remedy="docker",
        consequences=("container.*",),
    ),
    Fault(
        name="clock-loose",
        area="clock",
        about="nobody keeps the clock right",
        make=kernel("clock", "loose"),
        mend=kernel("clock", "kept"),
        check="upkeep.clock",
        cause="nothing on the host keeps the clock right",
        remedy="chrony",
        verdict="WARN",
    ),
    Fault(
        name="image-retagged",
        area="images",
        about="the NGC image's tag was moved to an image that is none",
        make=f"docker tag {_CUDA} {_NGC}",
        mend=f"docker rmi -f {_NGC} >/dev/null",
        check="container.ngc",
        cause="not an NGC framework image",
        remedy="docker image inspect",
        verdict="UNKNOWN",
    ),
    Fault(
        name="image-too-new",
        area="images",
        about="the CUDA image requires a newer CUDA than the driver has",
        make=f"id=$(docker create {_CUDA} true) && docker commit -c "
        f"'ENV NVIDIA_REQUIRE_CUDA=cuda>=99.0' $id {_CUDA} >/dev/null; docker rm $id >/dev/null",
        mend=f"docker rmi -f {_CUDA} >/dev/null",
        check="container.cuda_version",
        cause="newer CUDA",
        remedy="gpuhost_cuda_image",
        consequences=("container.cuda", "partition.*"),
    ),
)
