"""Keeps files for what the control plane needs itself, however many connect.

A connection is an open file, and the kernel lets a process have only so many. Without a bound a crowd of hosts that
call again and again, or anybody who opens connections and says nothing, would take them all: then neither the database
nor the broker's configuration can be opened any more, and the whole control plane fails.
"""

import resource
from dataclasses import dataclass
from typing import Final

_OWN_FILES: Final = 768
"""The database's, the broker's, logs, certificates, and those of the libraries; some dozens, and room."""
_PEOPLE_MAX: Final = 4_096
_MOST: Final = 1_048_576
_QUARTER: Final = 4


@dataclass(frozen=True, slots=True)
class Connections:
    """How many may be open at once on each port; whoever comes beyond is hung up on, and calls again."""

    people: int
    hosts: int


def connections(files: int) -> Connections:
    """Return how the files that a process may have open are shared out; `files` is at least 64."""
    quarter = files // _QUARTER
    people = min(_PEOPLE_MAX, quarter)
    return Connections(people=people, hosts=files - people - min(_OWN_FILES, quarter))


def raise_limit() -> int:
    """Take all the files that this process may take, and return how many may be open at once."""
    soft, hard = (_MOST if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _MOST), hard))
        except (OSError, ValueError):  # forbidden, or more than the kernel has: what there is remains
            return min(soft, _MOST)
    return min(hard, _MOST)
