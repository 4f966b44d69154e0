"""Start a program that ends with its parent: `python -I -S launcher.py <parent pid> <program> <arguments>`.

Run as a script, so that no Python runs between fork and exec in the control plane, whose threads (gRPC) do not
survive that. The kernel sends SIGTERM to the program when the thread that started it is gone, kill -9 included.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for a signal at the parent's death, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    os.execv(program, sys.argv[2:])  # noqa: S606 - becoming the program is the purpose; no shell is wanted


if __name__ == "__main__":
    main()
