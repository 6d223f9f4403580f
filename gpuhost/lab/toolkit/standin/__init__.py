"""The programs of the toolkit's stand-in, as they run on a lab host.

Python 3.9 and the standard library only. The programs run at every container's start, so they
import little: NamedTuple instead of dataclasses, sys.argv instead of argparse.
"""
