"""Ask the tracking server of this container one of questions.py.

Prints one line of what was found; what is wrong is the last line on standard error, with
exit code 1.
"""

from __future__ import annotations

import http.client
import sys


def main() -> None:
    """Ask what the first argument names."""
    try:
        # Soon where there is nothing to ask yet: the questions' own libraries take seconds to load.
        server = http.client.HTTPConnection("127.0.0.1", 5000, timeout=20)
        server.request("GET", "/health")
        server.getresponse().read()
        server.close()
        from questions import answer  # noqa: PLC0415

        print(answer(sys.argv[1]))
    except Exception as error:  # noqa: BLE001  (MLflow's come from many libraries)
        raise SystemExit(" ".join(f"{type(error).__name__}: {error}".split())) from None


if __name__ == "__main__":
    main()
