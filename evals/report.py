"""Tells how packs went: a table for people, one JSON object for programs."""

import json
import math
from collections.abc import Sequence

from bench.figures import machine
from evals.running import ERROR_SHARE_MAX, Outcome

_Z = 1.96  # of a 95 % interval


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson's score interval); 0 to 1 for none of none."""
    if not of:
        return 0.0, 1.0
    share, squared = right / of, _Z * _Z
    middle = share + squared / (2 * of)
    spread = _Z * math.sqrt(share * (1 - share) / of + squared / (4 * of * of))
    low, high = (middle - spread) / (1 + squared / of), (middle + spread) / (1 + squared / of)
    return max(low, 0.0), min(high, 1.0)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each pack. The interval is that of the share of cases that were right each time."""
    lines = [
        (
            f"{'pack':<14}{'cases':>6}{'tried':>7}{'mean':>8}{'always right':>14}{'95 % interval':>17}"
            f"{'must not':>10}{'errors':>8}{'left out':>10}{'time':>8}  "
        )
    ]
    for one in outcomes:
        if one.pack.skipped:
            lines.append(f"{one.pack.name:<14}skipped: {one.pack.skipped}")
            continue
        low, high = wilson(one.always_right, one.complete)
        lines.append(
            f"{one.pack.name:<14}{len(one.pack.cases):>6}{one.tried:>7}{one.mean:>8.3f}"
            f"{f'{one.always_right}/{one.complete}':>14}{f'{low:.2f} to {high:.2f}':>17}"
            f"{len(one.broken):>10}{len(one.errors):>8}{one.left_out:>10}"
            f"{one.seconds:>7.1f}s  {'ok' if one.passed else 'FAILED'}"
        )
    return "\n".join(lines)


def last_line(outcomes: Sequence[Outcome], repeats: int) -> str:
    """Return everything as one JSON object."""
    packs = {one.pack.name: _figures(one) for one in outcomes}
    broken = sum(len(one.broken) for one in outcomes)
    return json.dumps(
        {
            "name": "evals",
            "passed": all(one.passed for one in outcomes),
            "must_nots_broken": broken,
            "repeats": repeats,
            "packs": packs,
            "targets": {"must_nots_broken": 0, "error_share_max": ERROR_SHARE_MAX},
            "machine": machine(),
        }
    )


def _figures(one: Outcome) -> dict[str, object]:
    if one.pack.skipped:
        return {"skipped": one.pack.skipped}
    low, high = wilson(one.always_right, one.complete)
    return {
        "passed": one.passed,
        "cases": len(one.pack.cases),
        "n": one.tried,
        "mean": round(one.mean, 4),
        "floor": one.pack.floor,
        "repeats": one.repeats,
        "right": one.right,
        "always_right": one.always_right,
        "always_right_of": one.complete,
        "interval_95": [round(low, 4), round(high, 4)],
        "must_nots_broken": len(one.broken),
        "infrastructure_errors": len(one.errors),
        "left_out": one.left_out,
        "seconds": round(one.seconds, 1),
        "figures": {name: round(value, 4) for name, value in sorted(one.figures.items())},
    }
