"""The program that reads a GPU host; it runs there, on Python 3.9 or later.

It needs the standard library, docker-py and nvidia-ml-py, all of which travel
with it in one archive (:mod:`gpuhost.probe_archive`).
"""
