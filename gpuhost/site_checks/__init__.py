"""A site's own checks: pytest-testinfra files beside the inventory, judged in the same report."""

from gpuhost.site_checks.runner import FOLDER, examine, folder_of

__all__ = ["FOLDER", "examine", "folder_of"]
