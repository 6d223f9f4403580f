"""The images of the trials: are they on the host, and if not, can they be pulled."""

from __future__ import annotations

from typing import Callable, Collection, Dict, List, Optional

from gpuhost.probe.child import Child, ChildError
from gpuhost.probe.engine_api import Engine, EngineError
from gpuhost.probe.schema import Image, Trials

NOT_ASKED = "the probe was told not to pull it"

Connect = Callable[[float], Engine]


def prepare(connect: Connect, engine: Engine, asked: Trials, roles: Collection[str]) -> List[Image]:
    """Every image of these roles, pulled at the same time where they are missing."""
    wanted = [("cuda", asked["cuda_image"]), ("ngc", asked["ngc_image"])]
    images = [_image(role, ref, engine) for role, ref in wanted if ref and role in roles]
    missing = [image for image in images if not image["present_before"]]
    pulls: Dict[str, Child] = {}
    if asked["pull"]:
        # A process for each: its end cuts the connection, which makes the daemon give up too.
        for reference in dict.fromkeys(image["reference"] for image in missing):
            work = _pull(connect, reference, asked["pull_timeout_s"])
            pulls[reference] = Child(work, asked["pull_timeout_s"])
    try:
        for image in missing:
            _finish(image, pulls.get(image["reference"]), engine)
    finally:
        for child in pulls.values():
            child.stop()
    return images


def _pull(connect: Connect, reference: str, timeout_s: float) -> Callable[[], Optional[str]]:
    def work() -> Optional[str]:
        try:
            connect(timeout_s).pull(reference)
        except EngineError as error:
            return str(error)
        return None

    return work


def _finish(image: Image, pull: Optional[Child], engine: Engine) -> None:
    if pull is None:
        image["pull_error"] = NOT_ASKED
        return
    try:
        image["pull_error"] = pull.answer()
    except ChildError as error:
        image["pull_error"] = f"the pull {error}"
    image["pull_duration_s"] = round(pull.duration_s, 3)
    _describe(image, engine)


def _image(role: str, reference: str, engine: Engine) -> Image:
    image: Image = {
        "role": role,
        "reference": reference,
        "present_before": False,
        "pull_error": None,
        "pull_duration_s": 0.0,
        "id": None,
        "digests": [],
        "env": [],
    }
    _describe(image, engine)
    image["present_before"] = image["id"] is not None
    return image


def _describe(image: Image, engine: Engine) -> None:
    found = engine.image(image["reference"])
    if found is not None:
        image["id"] = found["Id"]
        image["digests"] = found.get("RepoDigests") or []
        image["env"] = (found.get("Config") or {}).get("Env") or []
