"""Bounds of the blast radius: how much may be out of service at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class BoundScope(Enum):
    """Over what nodes are counted. A pool and a rack are what nodes' labels `pool` and `rack` say."""

    FLEET = "fleet"
    POOL = "pool"
    RACK = "rack"
    JOB = "job"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Bound:
    """Nodes that may be out of service at once: at most `most`, and at most `percent` of those counted.

    The stricter one wins, but one node is always possible, unless either is 0.
    """

    most: int
    percent: float


Bounds = Mapping[BoundScope, Bound]
"""A bound for each scope."""


@dataclass(frozen=True, slots=True)
class Level:
    """How many nodes of one fleet, pool, rack, job or tenant there are, and how many of them are out of service."""

    scope: BoundScope
    name: str
    total: int
    out: int
