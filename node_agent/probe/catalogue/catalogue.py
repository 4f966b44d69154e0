"""Look up XIDs and SXids. The data files are read at the first question."""

import csv
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

from node_agent.probe.catalogue.model import CatalogueSeverity, SxidEntry, VendorAction, XidEntry

_FOLDER = Path(__file__).parent


def read_rows(file_name: str) -> Iterator[dict[str, str]]:
    """Return the rows of a data file of this folder, by column."""
    with (_FOLDER / file_name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@cache
def _xids() -> dict[int, XidEntry]:
    return {
        int(row["code"]): XidEntry(
            code=int(row["code"]),
            name=row["name"],
            meaning=row["meaning"],
            severity=CatalogueSeverity(row["severity"]),
            immediate_action=VendorAction(row["immediate_action"]),
            investigatory_action=row["investigatory_action"],
            source=row["source"],
            dated=date.fromisoformat(row["date"]),
        )
        for row in read_rows("xid.csv")
    }


@cache
def _sxids() -> dict[int, SxidEntry]:
    return {
        int(row["code"]): SxidEntry(
            code=int(row["code"]),
            name=row["name"],
            meaning=row["meaning"],
            severity=CatalogueSeverity(row["severity"]),
            immediate_action=VendorAction(row["immediate_action"]),
            source=row["source"],
            dated=date.fromisoformat(row["date"]),
        )
        for row in read_rows("sxid.csv")
    }


def find_xid(code: int) -> XidEntry | None:
    """Return what is known of an XID; None for a code that the catalogue does not have, which deserves attention."""
    return _xids().get(code)


def find_sxid(code: int) -> SxidEntry | None:
    """Return what is known of an SXid; None for a code that the catalogue does not have, which deserves attention."""
    return _sxids().get(code)


def all_xids() -> tuple[XidEntry, ...]:
    """Return all XIDs, by code."""
    return tuple(_xids().values())


def all_sxids() -> tuple[SxidEntry, ...]:
    """Return all SXids, by code."""
    return tuple(_sxids().values())
