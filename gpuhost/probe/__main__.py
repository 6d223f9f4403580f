"""``python3 -m gpuhost.probe < spec.json > evidence.json``."""

from __future__ import annotations

import sys

from gpuhost.probe.main import main

sys.exit(main())
