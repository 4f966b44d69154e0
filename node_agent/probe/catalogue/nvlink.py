"""Decode XID 144 to 150: which action the vendor's table gives for the codes in the line.

The table's bit patterns differ between drivers before R575 and from R575 on.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from node_agent.probe.catalogue.catalogue import read_rows
from node_agent.probe.catalogue.model import VendorAction

NVLINK_XIDS: Final = range(144, 151)
_FIRST_LATER_DRIVER: Final = 575


@dataclass(frozen=True, slots=True)
class _Rule:
    """One row of the table."""

    units: frozenset[str]
    earlier_mask: int
    earlier_value: int
    later_mask: int
    later_value: int
    error_statuses: frozenset[int]
    """Empty: any."""
    action: VendorAction

    def fits(self, unit: str, intrinfo: int, error_status: int, *, later: bool | None) -> bool:
        if self.error_statuses and error_status not in self.error_statuses:
            return False
        earlier_fits = intrinfo & self.earlier_mask == self.earlier_value
        later_fits = intrinfo & self.later_mask == self.later_value
        if later is None:
            return (earlier_fits or later_fits) and not self.units.isdisjoint(unit.split("/"))
        return later_fits if later else earlier_fits


@cache
def _rules() -> dict[int, tuple[_Rule, ...]]:
    rules: dict[int, list[_Rule]] = {code: [] for code in NVLINK_XIDS}
    for row in read_rows("nvlink.csv"):
        rules[int(row["xid"])].append(
            _Rule(
                units=frozenset(row["unit"].split("/")),
                earlier_mask=int(row["before_r575_mask"], 16),
                earlier_value=int(row["before_r575_value"], 16),
                later_mask=int(row["from_r575_mask"], 16),
                later_value=int(row["from_r575_value"], 16),
                error_statuses=frozenset(int(status, 16) for status in row["error_status"].split("|") if status),
                action=VendorAction(row["immediate_action"]),
            )
        )
    return {code: tuple(found) for code, found in rules.items()}


def find_nvlink_action(
    code: int, unit: str, intrinfo: int, error_status: int, driver_version: str = ""
) -> VendorAction | None:
    """Return the vendor's immediate action for the codes of an XID 144 to 150, or None if its table has none.

    `intrinfo` and `error_status` are the first two numbers in the line's parentheses. `driver_version` such as
    "580.65.06" tells which patterns hold; if it is not known, the name of the unit must fit too, and the answer is
    None where the two generations would not agree.
    """
    major = driver_version.partition(".")[0]
    later = int(major) >= _FIRST_LATER_DRIVER if major.isascii() and major.isdecimal() else None
    fitting = [rule for rule in _rules().get(code, ()) if rule.fits(unit, intrinfo, error_status, later=later)]
    if not fitting or (later is None and len({rule.action for rule in fitting}) > 1):
        return None
    return fitting[0].action
