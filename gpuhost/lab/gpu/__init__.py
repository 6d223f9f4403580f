"""Simulated GPUs: the management library, driver packages and what plays the kernel."""
