"""The commands, one file each. They print results; what goes wrong is raised."""
