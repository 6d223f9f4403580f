"""Containers: the images, nvidia-smi inside them, and that nothing is left behind."""

from __future__ import annotations

import re

from gpuhost.checks.facts import Facts
from gpuhost.checks.failure_words import explain
from gpuhost.checks.finding import (
    Finding,
    failed,
    not_applicable,
    not_declared,
    passed,
    undetermined,
)
from gpuhost.checks.gpu import silence, unread
from gpuhost.checks.proof import conclude, nothing_ran, trials_not_asked
from gpuhost.checks.registry import check
from gpuhost.checks.remedies import VERIFY
from gpuhost.checks.trials import HostGpus, examine
from gpuhost.checks.words import counted, listed
from gpuhost.model import Suite, Verdict
from gpuhost.parse.cuda_requirement import VARIABLE, Offer, is_met
from gpuhost.parse.docker import framework_versions, parse_env, release
from gpuhost.parse.versions import numbers
from gpuhost.probe.schema import Image, Nvml, Trial

VARIABLES = {"cuda": "gpuhost_cuda_image", "ngc": "gpuhost_ngc_image"}


def _image(facts: Facts, role: str) -> Image | None:
    return next((i for i in facts.containers["images"] if i["role"] == role), None)


def _not_usable(facts: Facts, role: str, declared: str) -> Finding | None:
    """Why the image of this role cannot be judged by what ran in it; None where it can."""
    image = _image(facts, role)
    if not declared:
        return not_declared(VARIABLES[role], image["reference"] if image else "no image")
    if image is None:
        return trials_not_asked(facts) or nothing_ran(facts, f"a container of {declared}")
    if image["pull_error"]:
        cause, remedy = explain(image["pull_error"], f"docker pull {image['reference']}")
        return failed(
            f"{image['reference']} could not be pulled",
            seen=image["pull_error"],
            expected="the image on the host",
            cause=cause,
            remedy=remedy,
        )
    if image["reference"] != declared:
        return undetermined(
            "another image was tried than the one that is declared",
            seen=str(image["reference"] or "no name"),
            expected=declared,
            cause="the evidence was made for another declaration",
            remedy=VERIFY,
        )
    return None


def _judge_image(facts: Facts, role: str, trials: list[Trial]) -> Finding:
    if not trials or not facts.nvml["gpus"]:
        return nothing_ran(facts, "a container that sees all GPUs")
    host = HostGpus.of(facts.nvml)
    image = trials[0]["image"]
    untried = () if any(trial["selector"] == "all" for trial in trials) else ("all GPUs",)
    examined = [examine(trial, host) for trial in trials]
    return conclude(examined, untried, f"{host.words} inside {image}", f"the {role} image")


def _trials(facts: Facts, role: str) -> list[Trial]:
    return [
        trial
        for trial in facts.containers["trials"]
        if trial["image_role"] == role and trial["expected_uuids"] is not None
    ]


@check(
    "container.cuda",
    "nvidia-smi works inside the CUDA image",
    needs=("containers", "nvml"),
    trials=("cuda",),
)
def cuda(facts: Facts) -> Finding:
    """The plainest use of the host: all GPUs in one container, and nvidia-smi shows them.

    Run the docker command that the report names: its words tell the driver, the toolkit and the
    image apart. If nvidia-smi fails on the host too, begin there.
    """
    not_usable = _not_usable(facts, "cuda", facts.desired.cuda_image)
    if not_usable:
        return not_usable
    trials = [t for t in _trials(facts, "cuda") if t["selector"] == "all" and not t["user"]]
    return _judge_image(facts, "cuda", trials)


@check(
    "container.ngc",
    "nvidia-smi works inside the NGC image",
    needs=("containers", "nvml"),
    suite=Suite.STANDARD,
    trials=("ngc",),
)
def ngc(facts: Facts) -> Finding:
    """Framework images bring their own entry point, libraries and environment.

    Pull the image by hand where the registry refused it (NGC may want a login); otherwise run
    the docker command that the report names.
    """
    not_usable = _not_usable(facts, "ngc", facts.desired.ngc_image)
    if not_usable:
        return not_usable
    found = _judge_image(facts, "ngc", _trials(facts, "ngc"))
    return _framework(facts, found.summary) if found.verdict is Verdict.PASS else found


def _framework(facts: Facts, summary: str) -> Finding:
    image = _image(facts, "ngc")
    env = image["env"] if image else []
    reference = facts.desired.ngc_image
    versions, wanted = framework_versions(parse_env(env)), release(reference)
    shown = listed(f"{name} {version}" for name, version in versions.items())
    if not versions:
        return undetermined(
            "which framework release the image holds is unknown",
            seen="no NVIDIA_<FRAMEWORK>_VERSION in the image's environment",
            expected=f"release {wanted or 'YY.MM'}",
            cause="it is not an NGC framework image, or it was rebuilt without its environment",
            remedy=f"docker image inspect --format '{{{{.Config.Env}}}}' {reference}",
        )
    if wanted and not any(version.startswith(wanted) for version in versions.values()):
        return failed(
            f"the image holds {shown}, not what its tag says",
            seen=shown,
            expected=f"release {wanted}",
            cause="the tag was moved, or the image was re-tagged",
            remedy=f"docker pull {reference}",
        )
    return passed(f"{summary}; {shown}")


@check(
    "container.cuda_version",
    "The driver is new enough for the images' CUDA",
    needs=("containers", "nvml"),
    suite=Suite.STANDARD,
    trials=("images",),
)
def cuda_version(facts: Facts) -> Finding:
    """nvidia-smi works in an image whose programs do not: CDI does not check the versions.

    Use an older image, or a newer driver branch: nvidia_driver_branch in the inventory.
    """
    environments = {i["reference"]: parse_env(i["env"]) for i in facts.containers["images"]}
    wanted = {
        reference: env.get(VARIABLE) or f"cuda>={env['CUDA_VERSION'].partition('.')[0]}"
        for reference, env in environments.items()
        if env.get(VARIABLE) or env.get("CUDA_VERSION")
    }
    if not wanted:
        return trials_not_asked(facts) or not_applicable("no image tells its CUDA version")
    nvml = facts.nvml
    if not nvml["cuda_version"] or not nvml["driver_version"]:
        required = listed(wanted.values())
        return silence(nvml, required) or unread(
            "the driver does not tell its versions", "NVML gives none", required
        )
    unmet = {r: text for r, text in wanted.items() if not is_met(text, _offer(nvml))}
    offered = f"driver {nvml['driver_version']} with CUDA {nvml['cuda_version']}"
    if not unmet:
        return passed(f"{offered} meets what {counted(len(wanted), 'image')} requires")
    return failed(
        "the driver is too old for an image",
        seen=offered,
        expected="\n".join(f"{reference}: {text}" for reference, text in unmet.items()),
        cause="the image is of a newer CUDA than the driver's branch offers; containers start, and "
        "CUDA programs in them fail",
        remedy=f"set an older tag in {' or '.join(VARIABLES.values())}, or a newer "
        "nvidia_driver_branch",
    )


def _offer(nvml: Nvml) -> Offer:
    gpus = nvml["gpus"]
    capabilities = [gpu["compute_capability"] or "0" for gpu in gpus]
    return Offer(
        cuda=nvml["cuda_version"] or "",
        driver=nvml["driver_version"] or "",
        arch=min(capabilities, key=numbers, default="0"),
        is_consumer=any(re.search("GeForce|TITAN", gpu["name"] or "") for gpu in gpus),
    )


@check(
    "container.cleanup",
    "No container of a verification is left behind",
    needs=("containers",),
    trials=("cuda",),
)
def cleanup(facts: Facts) -> Finding:
    """A container that stays holds its GPUs.

    Remove it with docker rm -f; if that hangs, a process in it hangs in the driver, and only a
    reboot helps.
    """
    containers = facts.containers
    left = containers["left_behind"]
    if left is None:
        return undetermined(
            "whether a container of this run is left is unknown",
            seen="dockerd did not list its containers when the trials had ended",
            expected="every container of this run removed",
            cause="dockerd hangs, or stopped while the trials ran",
            remedy="systemctl status docker.service; docker ps --filter label=gpuhost.trial",
        )
    if left:
        return failed(
            f"{counted(len(left), 'container')} could not be removed",
            seen=listed(left),
            expected="every container of this run removed",
            cause="dockerd does not answer, or a process in the container cannot be killed",
            remedy=f"docker rm -f {' '.join(left)}",
        )
    if not containers["trials"]:
        return not_applicable("no container was started")
    swept = containers["swept"]
    more = f"; {counted(len(swept), 'container')} of an earlier run removed too" if swept else ""
    return passed(f"all {len(containers['trials'])} removed{more}")
