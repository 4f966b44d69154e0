"""The vendor's catalogue as the rules need it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from node_agent.health.actions import INFORM, WARN, Decision, decide
from node_agent.health.model import Severity
from node_agent.probe.catalogue.catalogue import find_sxid, find_xid
from node_agent.probe.catalogue.model import CatalogueSeverity, SxidEntry, XidEntry

_SEVERITIES: Final = {
    CatalogueSeverity.INFO: Severity.INFO,
    CatalogueSeverity.WARNING: Severity.WARNING,
    CatalogueSeverity.FATAL: Severity.FATAL,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is needed of an entry."""

    meaning: str
    action: str
    """The vendor's immediate action in its own word; empty if it names none."""
    severity: Severity
    """How bad the code is by itself, where the action does not say."""


class Catalogue(Protocol):
    """Where entries are looked up."""

    def xid(self, code: int) -> Entry | None:
        """Return the entry of an XID; None if the catalogue does not have it."""

    def sxid(self, code: int) -> Entry | None:
        """Return the entry of an SXid; None if the catalogue does not have it."""


class VendorCatalogue:
    """The catalogue that is shipped."""

    def xid(self, code: int) -> Entry | None:
        """Return the entry of an XID; None if the catalogue does not have it."""
        return _xid(code)

    def sxid(self, code: int) -> Entry | None:
        """Return the entry of an SXid; None if the catalogue does not have it."""
        return _sxid(code)


def decide_entry(entry: Entry | None, fatal: Decision) -> Decision:
    """Return the decision of an entry: the vendor's action, else its severity, with `fatal` where that is fatal."""
    if entry is None:
        return WARN
    if not entry.action:
        return {Severity.INFO: INFORM, Severity.WARNING: WARN, Severity.FATAL: fatal}[entry.severity]
    decision = decide(entry.action)
    # The vendor's "ignore" means that there is nothing to repair, not that nobody should know.
    return WARN if entry.action == "IGNORE" and entry.severity > Severity.INFO else decision


@lru_cache(maxsize=1024)
def _xid(code: int) -> Entry | None:
    return _entry(find_xid(code))


@lru_cache(maxsize=1024)
def _sxid(code: int) -> Entry | None:
    return _entry(find_sxid(code))


def _entry(found: XidEntry | SxidEntry | None) -> Entry | None:
    if found is None:
        return None
    return Entry(found.meaning, found.immediate_action.value, _SEVERITIES[found.severity])
