"""Large images: made when somebody wants them, and served by the lab's registry from then on."""

from __future__ import annotations

from collections.abc import Callable

from gpuhost.errors import UsageError
from gpuhost.lab import large_builds, settings
from gpuhost.lab.keyed import locked
from gpuhost.lab.large_images import LARGE_IMAGES
from gpuhost.lab.requirements import check_requirements
from gpuhost.suggest import did_you_mean


def add_image(name: str, progress: Callable[[str], None] = lambda _: None) -> str:
    """Build the large image ``name`` unless that has been done; what it is pulled by.

    Raises:
        UsageError: there is no such image.
        LabError: something that the lab needs is missing.
    """
    if name not in LARGE_IMAGES:
        raise UsageError(
            f"There is no large image {name!r}.{did_you_mean(name, LARGE_IMAGES)}",
            f"There are: {', '.join(LARGE_IMAGES)}",
        )
    check_requirements()
    where = settings.load()
    with locked(where.cache, "registry"):
        large_builds.ensure(where.cache, name, progress)
    return LARGE_IMAGES[name].reference
