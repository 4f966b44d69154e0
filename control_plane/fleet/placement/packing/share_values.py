"""What a share of a GPU is worth: the dual prices of cutting whole GPUs into the shares that are asked for.

The fractional cutting-stock problem, solved by column generation (Gilmore and Gomory, 1961). A GPU that is cut in the
best way is worth 1; so is an 810-milli share where little that is wanted fits beside it.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_TOLERANCE = 1e-9
_MAX_PIVOTS = 2_000  # a list has a few dozen shares and takes some dozens of pivots


def share_values(wanted: Mapping[int, int]) -> dict[int, float]:
    """The value of each share size in milli, as a part of a GPU, where `wanted` says how many there are of each.

    Falls back on `simple_share_values` should the pivots not come to an end within the bound.
    """
    sizes = sorted(size for size, count in wanted.items() if size > 0 and count > 0)
    if not sizes:
        return {}
    shares = np.array(sizes, dtype=np.int64)
    demand = np.array([wanted[size] for size in sizes], dtype=np.float64)
    # One column a pattern of cutting; at first each GPU is cut into shares of one size.
    basis: Floats = np.diag((WHOLE_GPU_MILLI // shares).astype(np.float64))
    costs: Floats = np.ones(len(sizes))
    for _ in range(_MAX_PIVOTS):
        prices: Floats = np.linalg.solve(basis.T, costs).astype(np.float64)
        lowest = int(prices.argmin())
        if prices[lowest] < -_TOLERANCE:  # more of this share than asked for would be free: cut it and throw it away
            column, cost = -np.eye(len(sizes))[lowest], 0.0
        else:
            column, worth = best_pattern(shares, prices)
            cost = 1.0
            if worth <= 1 + _TOLERANCE:
                return {size: float(min(max(price, 0.0), 1.0)) for size, price in zip(sizes, prices, strict=True)}
        amounts, direction = np.linalg.solve(basis, demand), np.linalg.solve(basis, column)
        falls = direction > _TOLERANCE
        if not falls.any():
            break
        ratios = np.where(falls, amounts / np.where(falls, direction, 1.0), np.inf)
        leaves = int(ratios.argmin())
        basis[:, leaves], costs[leaves] = column, cost
    return simple_share_values(wanted)


def simple_share_values(wanted: Mapping[int, int]) -> dict[int, float]:
    """The value of each share size if a GPU is cut into shares of that size alone."""
    return {size: 1 / (WHOLE_GPU_MILLI // size) for size, count in wanted.items() if size > 0 and count > 0}


def best_pattern(shares: Ints, prices: Floats) -> tuple[Floats, float]:
    """The most valuable way to cut one GPU: how many of each share, and what they are worth together."""
    measure = math.gcd(WHOLE_GPU_MILLI, *shares.tolist())  # nothing changes between its multiples
    whole = WHOLE_GPU_MILLI // measure
    best: list[float] = [0.0] * (whole + 1)
    last: list[int] = [-1] * (whole + 1)
    items = [(int(share) // measure, float(price)) for share, price in zip(shares, prices, strict=True)]
    for room in range(1, whole + 1):
        value, chosen = best[room - 1], -1
        for number, (share, price) in enumerate(items):
            if share <= room and best[room - share] + price > value + _TOLERANCE / 1_000:
                value, chosen = best[room - share] + price, number
        best[room], last[room] = value, chosen
    column: Floats = np.zeros(len(items))
    room = whole
    while room > 0:
        if last[room] < 0:
            room -= 1
            continue
        column[last[room]] += 1
        room -= items[last[room]][0]
    return column, best[whole]
