"""What differs between the releases that the stand-in plays."""

from __future__ import annotations

from typing import NamedTuple


class Release(NamedTuple):
    """One release of the toolkit.

    ``device_details``: device nodes in a CDI specification carry major, minor and mode.
    ``application_profile``: there is a CDI hook update-application-profile.
    ``request_failure``: what precedes the reason when a container's request can't be served.
    """

    version: str
    device_details: bool
    application_profile: bool
    request_failure: str


RELEASES = (
    Release(
        version="1.19.1",
        device_details=False,
        application_profile=False,
        request_failure="failed to create NVIDIA Container Runtime: "
        "failed to construct OCI spec modifier: ",
    ),
    Release(
        version="1.20.0",
        device_details=True,
        application_profile=True,
        request_failure="could not apply required modification to OCI specification: "
        "error modifying OCI spec: ",
    ),
)


def named(version: str) -> Release:
    """The release of that version."""
    return next(release for release in RELEASES if release.version == version)
