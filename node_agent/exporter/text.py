"""Writes Prometheus text, version 0.0.4.

By hand rather than by `prometheus_client`: this runs in every daemon that serves metrics, all of whose processes
together may have 60 MB, and writing is these few lines. Measured on top of the daemon's own modules, with 480 series:
the library adds 1.3 MB and takes 3.8 ms of processor time for a page. The tests hold the page to its parser.
"""

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_PRINTABLE: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_MAXIMUM_LABEL: Final = 256


class Kind(Enum):
    """Prometheus's type of a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"


def label_text(labels: Mapping[str, str]) -> str:
    """Return labels in braces; nothing if there are none. Hostile values cannot end a label or a line."""
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    shown = _NOT_PRINTABLE.sub("?", value[:_MAXIMUM_LABEL])
    return shown.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def family(name: str, kind: Kind, explanation: str, series: Iterable[tuple[str, float]]) -> list[str]:
    """Return the lines of one metric, none if it has no series. `series` are labels in braces and values."""
    lines = [f"{name}{labels} {number(value)}" for labels, value in series]
    return [f"# HELP {name} {explanation}", f"# TYPE {name} {kind.value}", *lines] if lines else []


def number(value: float) -> str:
    """Return a value as Prometheus reads it: whole numbers without a point, others without loss."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)  # noqa: PLR2004 - exact below 2**53
