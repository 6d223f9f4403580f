"""Programs that the lab runs in the background, each a script of its own.

They are started by path and import nothing of gpuhost, so that they come up
at once and keep running while the tool is upgraded.
"""
