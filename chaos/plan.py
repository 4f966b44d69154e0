"""Which mischief happens when: drawn from a seed before anything starts, so that a run can be had again."""

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

WHOLE_SECONDS: Final = 120.0
"""In a shorter run what is done lasts less long, in proportion."""

LEAST_GAP_SECONDS: Final = 2.0
MOST_GAP_SECONDS: Final = 6.0
FAULTS_PER_HOST_MINUTE: Final = 0.03
AWAY_PER_HOST_MINUTE: Final = 0.01
FAULTS_UNTIL: Final = 0.7
"""Share of the time: a host that is away, or is repaired, is back when the mischief ends."""


class Kind(Enum):
    """What is done; the value is what the report calls it."""

    LEADER_KILLED = "leading control plane: kill -9"
    FOLLOWER_KILLED = "following control plane: kill -9"
    LEADER_STOPPED = "leading control plane: stands still"
    BROKER_KILLED = "NATS server: kill -9"
    DATABASE_STOPPED = "PostgreSQL: immediate shutdown"
    DATABASE_KILLED = "PostgreSQL: kill -9"
    LINKS_RESET = "links of one control plane: reset"
    LINKS_SILENT = "links of one control plane: silent"
    HOSTS_DEAF = "all links: half-open"
    HOSTS_KILLED = "half of the hosts: kill -9"


LASTS: Final = {
    Kind.LEADER_KILLED: (1.0, 5.0),
    Kind.FOLLOWER_KILLED: (1.0, 5.0),
    Kind.LEADER_STOPPED: (4.5, 8.0),  # a lease is good for 2.5 s, and free for others after 3 s
    Kind.BROKER_KILLED: (1.0, 6.0),
    Kind.DATABASE_STOPPED: (0.5, 4.0),
    Kind.DATABASE_KILLED: (0.5, 4.0),
    Kind.LINKS_RESET: (1.0, 6.0),
    Kind.LINKS_SILENT: (5.0, 10.0),  # hosts go elsewhere after a lease without an acknowledgement
    Kind.HOSTS_DEAF: (1.0, 12.0),
    Kind.HOSTS_KILLED: (1.0, 12.0),
}
"""Seconds from doing to undoing, least and most."""


_WAIT_FOR_EACH_OTHER: Final = (Kind.LEADER_KILLED, Kind.FOLLOWER_KILLED, Kind.LEADER_STOPPED)
"""In a short run they come first: each waits until the control plane that was killed before it serves again."""


@dataclass(frozen=True, slots=True)
class Mischief:
    """One thing that is done. `place` (0 to 1) says to which of several it is done."""

    kind: Kind
    at_seconds: float
    lasts_seconds: float
    place: float


def draw(seed: int, seconds: float) -> tuple[Mischief, ...]:
    """Return what happens within so many seconds, in order: each kind once before any comes a second time."""
    dice = random.Random(f"mischief/{seed}")
    gap = min(MOST_GAP_SECONDS, max(LEAST_GAP_SECONDS, seconds / len(Kind)))
    drawn: list[Mischief] = []
    kinds: list[Kind] = []
    for number in range(int(seconds / gap)):
        if not kinds:
            kinds = list(Kind)
            dice.shuffle(kinds)
            if seconds < WHOLE_SECONDS:
                kinds.sort(key=_WAIT_FOR_EACH_OTHER.__contains__)  # the last are taken first
        kind = kinds.pop()
        at = (number + dice.random()) * gap
        least, most = LASTS[kind]
        lasts = dice.uniform(least, least + (most - least) * min(1.0, seconds / WHOLE_SECONDS))
        drawn.append(Mischief(kind, round(at, 2), round(lasts, 2), dice.random()))
    return tuple(drawn)


def faults(seed: int, seconds: float, hosts: int) -> tuple[tuple[str, float], ...]:
    """Return what breaks on single hosts, and when: a name of the simulator's, and seconds from the start."""
    dice = random.Random(f"faults/{seed}")
    minutes = seconds / 60
    chosen = [
        dice.choice(("xid48", "xid63", "xid79", "xid95", "xid119"))
        for _ in range(max(2, round(FAULTS_PER_HOST_MINUTE * hosts * minutes)))
    ]
    chosen += ["offline"] * max(1, round(AWAY_PER_HOST_MINUTE * hosts * minutes))
    return tuple(
        sorted(((name, round(dice.uniform(0, FAULTS_UNTIL * seconds), 2)) for name in chosen), key=lambda one: one[1])
    )
