"""What the archive starts with (its ``__main__.py``): find a library to load, then the probe.

The archive unpacks itself beside itself the first time, because Python keeps
no compiled code for what it loads out of an archive. This file has to load
on older Pythons as well, in order to say that they are too old.
"""

import importlib
import os
import shutil
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

MINIMUM = (3, 9)
NATIVE_UNIONS = (3, 10)
EXIT_TOO_OLD = 3


def main() -> int:
    """Run the probe; its exit status."""
    version = "{}.{}".format(*sys.version_info)
    if sys.version_info < MINIMUM:
        sys.stderr.write(
            f"gpuhost-probe: Python {version} is too old, 3.9 or later is needed. Install one"
            " and name it in the host's variable ansible_python_interpreter.\n"
        )
        return EXIT_TOO_OLD
    # It is left out on purpose, see gpuhost.probe_archive.
    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
    os.umask(0o022)
    archive = Path(sys.path[0])
    sys.path[0] = str(unpacked(archive, archive.with_name(f"{archive.stem}-py{version}")))
    status: int = importlib.import_module("gpuhost.probe.main").main()
    return status


def unpacked(archive: Path, folder: Path) -> Path:
    """``folder``, with what is in the archive; the archive itself where that can't be."""
    if not folder.is_dir():
        try:
            _unpack(archive, folder)
        except OSError:
            return archive
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=str(folder.parent)))
    try:
        with zipfile.ZipFile(str(archive)) as content:
            content.extractall(str(fresh))
        if sys.version_info < NATIVE_UNIONS:
            importlib.import_module("gpuhost_backport").rewrite_folder(str(fresh))
        # A trial's process has given up root when it loads its last modules.
        fresh.chmod(0o755)
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(str(fresh), ignore_errors=True)
        # Another probe may have been faster; then its folder is as good.
        if not folder.is_dir():
            raise


if __name__ == "__main__":
    sys.exit(main())
