"""Faults between docker and the GPUs: toolkit, CDI specification, daemon."""

from __future__ import annotations

import json

from gpuhost.lab.faults.registry import (
    REFRESH_CDI,
    RESTART_DOCKER,
    START_DOCKER,
    TRIALS,
    Fault,
    edited,
    moved_away,
)
from gpuhost.lab.toolkit.standin import fault as switch

_SPEC = "/var/run/cdi/nvidia.yaml"
_DAEMON = "/etc/docker/daemon.json"
_HOOK = "/usr/bin/nvidia-container-runtime-hook"
_RUNTIME = "/usr/bin/nvidia-container-runtime"
_RUNC = "/usr/bin/runc"
_HANGING_RUNC = (
    "#!/bin/sh\n"
    'case " $* " in *" kill "*|*" delete "*) exec sleep 86399;; esac\n'
    f'exec {_RUNC}.fault "$@"\n'
)
_OURS = "docker ps -aq --filter label=gpuhost.trial"
_NO_DOCKER = ("docker.*", "cdi.enabled", *TRIALS)
_PARTITION = ("partition.*", "container.cuda", "container.ngc")


def _misbehaving(name: str, about: str, words: tuple[str, str, str], *more: str) -> Fault:
    """A toolkit that hands out other GPUs than it was asked for."""
    check, cause, remedy = words
    text = json.dumps({"misbehave": name})
    folder = switch.SWITCH.parent
    return Fault(
        name=f"toolkit-{name}",
        area="toolkit",
        about=about,
        make=f"mkdir -p {folder} && printf %s '{text}' >{switch.SWITCH}; {REFRESH_CDI}",
        mend=f"rm -f {switch.SWITCH}; {REFRESH_CDI}",
        check=check,
        cause=cause,
        remedy=remedy,
        consequences=(*_PARTITION, *more),
    )


def _daemon_json(change: str) -> str:
    """A script that changes daemon.json by a Python expression over ``d``."""
    program = (
        f'import json; p="{_DAEMON}"; d=json.load(open(p)); {change}; json.dump(d, open(p, "w"))'
    )
    return f"python3 -c '{program}'"


_CDI_OFF = edited(_DAEMON, _daemon_json('d["features"] = {}'))
_NO_RUNTIME = edited(_DAEMON, _daemon_json('d.pop("runtimes", None)'))
_NO_JSON = edited(_DAEMON, f"printf '{{ \"debug\": ' >{_DAEMON}")
_UNKNOWN_KEY = edited(_DAEMON, _daemon_json('d["gpu-everywhere"] = True'))

FAULTS = (
    _misbehaving(
        switch.LEAK_ONE,
        "a container gets one GPU more than it asked for",
        ("partition.gpus", "other GPUs than it asked for", "nvidia_container_toolkit_version"),
        "cdi.matches",
    ),
    _misbehaving(
        switch.SWAP,
        "a container gets another GPU than it asked for",
        ("partition.runtime", "toolkit", "nvidia_container_toolkit_version"),
        "cdi.matches",
    ),
    _misbehaving(
        switch.IGNORE_NONE,
        "NVIDIA_VISIBLE_DEVICES=none gives every GPU",
        ("partition.runtime", "nobody asked for", "none"),
    ),
    _misbehaving(
        switch.ALL_FOR_BAD_INDEX,
        "a GPU that does not exist is taken for all GPUs",
        ("partition.refusal", "does not exist", "docker run"),
        "cdi.matches",
    ),
    _misbehaving(
        switch.STALE_CDI,
        "the CDI specification is that of an earlier driver, without the last GPU",
        ("cdi.matches", "changed after it was generated", "nvidia-cdi-refresh"),
    ),
    Fault(
        name="hook-gone",
        area="toolkit",
        about="nvidia-container-runtime-hook is gone",
        make=f"{moved_away(_HOOK)[0]}; {RESTART_DOCKER}",
        mend=f"{moved_away(_HOOK)[1]}; {RESTART_DOCKER}",
        check="toolkit.hook",
        cause="not completely",
        remedy="--reinstall nvidia-container-toolkit",
        consequences=(*_PARTITION, "container.*"),
    ),
    Fault(
        name="toolkit-mixed",
        area="toolkit",
        about="one of the toolkit's packages is of an older version",
        make="dpkg-query -W -f '${Version}' libnvidia-container1 >/etc/gpuhost-lab/version; "
        "sed -i '/^Package: libnvidia-container1$/,/^$/s/^Version: .*/Version: 1.19.1-1/' "
        "/var/lib/dpkg/status",
        mend="[ ! -e /etc/gpuhost-lab/version ] || { sed -i "
        '"/^Package: libnvidia-container1$/,/^$/s/^Version: .*/Version: '
        '$(cat /etc/gpuhost-lab/version)/" /var/lib/dpkg/status; rm /etc/gpuhost-lab/version; }',
        check="toolkit.installed",
        cause="held or was upgraded",
        remedy="gpuhost provision",
        # apt refuses to plan with packages that do not fit together.
        consequences=("upkeep.upgrades",),
    ),
    Fault(
        name="cdi-missing",
        area="cdi",
        about="there is no CDI specification",
        make=f"rm -f {_SPEC}",
        mend=REFRESH_CDI,
        check="cdi.spec",
        cause="has not run, or failed",
        remedy="nvidia-cdi-refresh",
        consequences=("cdi.*", *_PARTITION),
    ),
    Fault(
        name="cdi-cut-off",
        area="cdi",
        about="the CDI specification was cut off while it was written",
        make=f"sed -i '$d' {_SPEC}; printf '{{' >>{_SPEC}",
        mend=REFRESH_CDI,
        check="cdi.spec",
        cause="cut off",
        remedy="nvidia-cdi-refresh",
        consequences=("cdi.*", *_PARTITION),
    ),
    Fault(
        name="cdi-other-gpus",
        area="cdi",
        about="the CDI specification names GPUs that are not there",
        make=f"sed -i 's/GPU-[0-9a-f]\\{{8\\}}/GPU-00000000/' {_SPEC}",
        mend=REFRESH_CDI,
        check="cdi.matches",
        cause="changed after it was generated",
        remedy="nvidia-cdi-refresh",
        consequences=_PARTITION,
    ),
    Fault(
        name="cdi-twice",
        area="cdi",
        about="an old specification lies in /etc/cdi",
        make=f"mkdir -p /etc/cdi && cp {_SPEC} /etc/cdi/old.yaml",
        mend="rm -f /etc/cdi/old.yaml",
        check="cdi.spec",
        cause="by hand once",
        remedy="rm /etc/cdi/old.yaml",
        consequences=("partition.cdi",),
        verdict="WARN",
    ),
    Fault(
        name="cdi-off",
        area="cdi",
        about="CDI is switched off in daemon.json",
        make=f"{_CDI_OFF[0]}; {RESTART_DOCKER}",
        mend=f"{_CDI_OFF[1]}; {RESTART_DOCKER}",
        check="cdi.enabled",
        cause="features.cdi is not set",
        remedy="features: {cdi: true}",
        consequences=("docker.config", *_PARTITION),
    ),
    Fault(
        name="docker-stopped",
        area="docker",
        about="dockerd does not run",
        make="systemctl stop docker.socket docker.service",
        mend=START_DOCKER,
        check="docker.running",
        cause="dockerd does not run",
        remedy="systemctl enable --now docker",
        consequences=_NO_DOCKER,
    ),
    Fault(
        name="docker-frozen",
        area="docker",
        about="dockerd is there and answers nothing",
        make="systemctl kill --signal=STOP docker.service",
        mend="systemctl kill --signal=CONT docker.service",
        check="docker.running",
        cause="hangs",
        remedy="systemctl status docker.service",
        consequences=_NO_DOCKER,
    ),
    Fault(
        name="container-unkillable",
        area="docker",
        about="no container can be removed any more: runc hangs where one is killed or deleted",
        make=f"mv {_RUNC} {_RUNC}.fault; printf %s '{_HANGING_RUNC}' >{_RUNC}; chmod 755 {_RUNC}",
        mend=f"{moved_away(_RUNC)[1]}; pkill -f '[s]leep 86399'; "
        f'for i in $(seq 30); do [ -n "$({_OURS})" ] || break; docker rm -f $({_OURS}) '
        ">/dev/null 2>&1; sleep 1; done",
        check="container.cleanup",
        cause="cannot be killed",
        remedy="docker rm -f",
        consequences=TRIALS,
    ),
    Fault(
        name="runtime-unregistered",
        area="docker",
        about="the nvidia runtime is not registered, and dockerd was restarted since",
        make=f"{_NO_RUNTIME[0]}; {RESTART_DOCKER}",
        mend=f"{_NO_RUNTIME[1]}; {RESTART_DOCKER}",
        check="docker.runtime",
        cause="was not run, or daemon.json was replaced",
        remedy="nvidia-ctk runtime configure",
        consequences=("docker.config", *_PARTITION),
    ),
    Fault(
        name="runtime-soon-lost",
        area="docker",
        about="daemon.json lost the nvidia runtime; dockerd still knows it",
        make=_NO_RUNTIME[0],
        mend=_NO_RUNTIME[1],
        check="docker.runtime",
        cause="changed or removed after",
        remedy="nvidia-ctk runtime configure",
        consequences=("docker.config",),
        verdict="WARN",
    ),
    Fault(
        name="daemon-json-broken",
        area="docker",
        about="daemon.json is no JSON: the next restart of docker fails",
        make=_NO_JSON[0],
        mend=_NO_JSON[1],
        check="docker.config",
        cause="edited by hand",
        remedy="json.tool",
        consequences=("docker.runtime",),
    ),
    Fault(
        name="daemon-json-unknown-key",
        area="docker",
        about="daemon.json has a key that dockerd does not know: the next restart fails",
        make=_UNKNOWN_KEY[0],
        mend=_UNKNOWN_KEY[1],
        check="docker.config",
        cause="does not know",
        remedy="Remove the key",
    ),
    Fault(
        name="runtime-binary-gone",
        area="docker",
        about="the nvidia runtime is registered, and its program is gone",
        make=moved_away(_RUNTIME)[0],
        mend=moved_away(_RUNTIME)[1],
        check="partition.runtime",
        cause="",
        remedy="",
        consequences=_PARTITION,
    ),
)
