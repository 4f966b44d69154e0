"""How benchmarks tell what they measured: their figures, their targets and the machine."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def machine() -> dict[str, object]:
    """Return what the figures of a benchmark were measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cpu": model, "cores": os.cpu_count(), "python": sys.version.split()[0]}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def report(name: str, figures: Mapping[str, object], targets: Mapping[str, object]) -> str:
    """Return a benchmark's last line."""
    return json.dumps({"name": name, "figures": dict(figures), "targets": dict(targets), "machine": machine()})
