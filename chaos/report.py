"""What a run found, for people and, as the last line, for programs."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Final

from bench.figures import machine, percentile
from chaos.ledger import Ledger
from chaos.plan import Kind
from chaos.recovery import Recovered

_COLUMNS: Final[dict[str, Callable[[Recovered], float | None]]] = {
    "another leads": lambda one: one.lead,
    "a job is placed": lambda one: one.placing,
    "a job is accepted": lambda one: one.accepting,
    "hosts are linked": lambda one: one.links,
}


def recoveries(found: Sequence[Recovered]) -> dict[str, dict[str, object]]:
    """Return for each kind how often it was done, and the median and the most of the seconds until things went on."""
    told: dict[str, dict[str, object]] = {}
    for kind in Kind:
        ones = [one for one in found if one.kind is kind]
        if ones:
            told[kind.value] = {"count": len(ones)}
            for name, value in _COLUMNS.items():
                told[kind.value][name] = spread([seconds for one in ones if (seconds := value(one)) is not None])
    return told


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return count, median and most of some seconds; None of none."""
    if not values:
        return None
    return {"count": len(values), "p50_s": round(percentile(values, 0.5), 2), "max_s": round(max(values), 2)}


def faults(books: Ledger) -> dict[str, object]:
    """Return how fast the faults of hosts were answered."""
    cordoned = [(two - one).total_seconds() for one, two, _ in books.incidents if two is not None]
    closed = [(three - one).total_seconds() for one, _, three in books.incidents if three is not None]
    return {"incidents": len(books.incidents), "cordoned": spread(cordoned), "closed": spread(closed)}


def table(told: dict[str, dict[str, object]]) -> str:
    """Return the recoveries as a table: seconds, P50 / most; a dash where nothing of the kind was lost."""
    lines = [f"{'seconds until ... (P50 / most)':44}{'count':>6}" + "".join(f"{name:>20}" for name in _COLUMNS)]
    for kind, row in told.items():
        cells = []
        for name in _COLUMNS:
            one = row[name]
            cells.append(f"{one['p50_s']:.1f} / {one['max_s']:.1f}" if isinstance(one, dict) else "-")
        lines.append(f"{kind:44}{row['count']:>6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def last_line(figures: dict[str, object]) -> str:
    """Return the object that ends the output."""
    load = [round(one, 1) for one in os.getloadavg()]
    return json.dumps({"name": "chaos", **figures, "machine": machine(), "load_average": load})
