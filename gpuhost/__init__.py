"""gpuhost: from a bare Linux server to a GPU container host that is proven to work."""

__version__ = "0.1.0"
