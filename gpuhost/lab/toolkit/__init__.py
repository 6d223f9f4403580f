"""The lab's stand-in for NVIDIA's container toolkit: its packages and its faults.

What runs on a lab host is in ``standin`` (Python 3.9, standard library only) and ``native`` (C);
``packages`` makes Debian packages of it under the upstream names.
"""
