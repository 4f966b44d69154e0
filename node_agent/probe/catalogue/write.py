"""Print the catalogue: for scripts as CSV or JSON, for people as a table."""

import csv
import json
from typing import TextIO

from node_agent.probe.catalogue.catalogue import all_sxids, all_xids
from node_agent.probe.catalogue.model import SxidEntry, XidEntry


def write_csv(stream: TextIO, *, sxids: bool = False) -> None:
    """Print the columns xid (or sxid), name, severity, immediate_action and source, with the date of the source."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["sxid" if sxids else "xid", "name", "severity", "immediate_action", "source"])
    writer.writerows(
        [entry.code, entry.name, entry.severity.value, entry.immediate_action.value, _source(entry)]
        for entry in _entries(sxids=sxids)
    )


def write_json(stream: TextIO, *, sxids: bool = False) -> None:
    """Print one JSON list of objects with all that is known of each code."""
    rows = [
        {
            "sxid" if sxids else "xid": entry.code,
            "name": entry.name,
            "meaning": entry.meaning,
            "severity": entry.severity.value,
            "immediate_action": entry.immediate_action.value,
            **({"investigatory_action": entry.investigatory_action} if isinstance(entry, XidEntry) else {}),
            "source": entry.source,
            "dated": entry.dated.isoformat(),
        }
        for entry in _entries(sxids=sxids)
    ]
    json.dump(rows, stream, indent=2)
    stream.write("\n")


def write_table(stream: TextIO, *, sxids: bool = False) -> None:
    """Print one line for each code: number, severity, action (a dash if none is stated) and meaning."""
    entries = _entries(sxids=sxids)
    width = max(len(entry.immediate_action.value) for entry in entries)
    stream.write(f"{'SXID' if sxids else 'XID':<6} {'SEVERITY':<8} {'ACTION':<{width}} MEANING\n")
    for entry in entries:
        action = entry.immediate_action.value or "-"
        stream.write(f"{entry.code:<6} {entry.severity.value:<8} {action:<{width}} {entry.meaning}\n")


def _entries(*, sxids: bool) -> tuple[XidEntry, ...] | tuple[SxidEntry, ...]:
    return all_sxids() if sxids else all_xids()


def _source(entry: XidEntry | SxidEntry) -> str:
    return f"{entry.source} {entry.dated.isoformat()}"
