"""What can go wrong with a host, made on purpose in a lab host: for drills and for tests.

Each fault says what it is, how it is made and mended, which check has to
catch it, with which cause and remedy, and which other checks may speak up.
"""

from gpuhost.lab.faults.drill import clear, inject, injected, made
from gpuhost.lab.faults.registry import AREAS, Fault, all_faults, find

__all__ = ["AREAS", "Fault", "all_faults", "clear", "find", "inject", "injected", "made"]
