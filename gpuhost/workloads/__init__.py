"""Work that people bring to a GPU host: definitions, rendered for a host's GPUs and run there.

A definition is a folder: ``compose.yaml`` in the Compose Specification, in whose
texts ``${name}`` stands for a parameter; ``workload.yaml`` with the parameters and the
probes; and, where an image is built, its build context beside them.
"""
