"""What runs jobs: our own daemons. An executor that is not named here cannot be asked for.

This is the one list of them; a job is checked against it when it is submitted and when it is launched.
"""

from typing import Final

HOSTS: Final = "hosts"
"""Our own daemons; an empty name means them."""

EXECUTORS: Final = (HOSTS,)
"""The names that a job may give."""


def is_known(name: str) -> bool:
    """Tell whether a job may name this executor; empty stands for our own daemons."""
    return not name or name in EXECUTORS
