"""What the plugin in pytest's process tells, and where: shared, and quick to import."""

from __future__ import annotations

PLACE = "GPUHOST_SITE_RESULTS"
COLLECTED, ENDED, BROKEN = "collected", "ended", "broken"
