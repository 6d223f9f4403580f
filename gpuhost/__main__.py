"""``python -m gpuhost``."""

from gpuhost.cli import main

if __name__ == "__main__":
    main()
