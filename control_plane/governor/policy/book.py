"""The policies in force. One set is swapped for another whole; a decision sees exactly one of them."""

from collections.abc import Sequence
from typing import Final

from control_plane.governor.policy.checking import version_of
from control_plane.governor.policy.model import Fault, PolicySet

EMPTY: Final = PolicySet(version_of(()))
"""No files: the built-in rules alone."""

_ERROR_FAULTS: Final = 5


class PolicyBook:
    """Holds the set in force, and why the newest files are not, if they are wrong.

    Read from the store's writer thread, changed from the event loop: each field is replaced at once.
    """

    def __init__(self, current: PolicySet = EMPTY, *, folder: str = "") -> None:
        self.current = current
        self.folder = folder
        self.error = ""

    def put(self, policies: PolicySet) -> None:
        """Put a set into force."""
        self.current = policies
        self.error = ""

    def refuse(self, faults: Sequence[Fault]) -> None:
        """Keep the set in force, and say what is wrong with the newest files."""
        shown = [fault_line(fault) for fault in faults[:_ERROR_FAULTS]]
        more = len(faults) - len(shown)
        self.error = "\n".join([*shown, f"and {more} more"] if more else shown)


def fault_line(fault: Fault) -> str:
    """Return a fault as one line: file, line, rule, what is wrong."""
    place = ":".join(part for part in (fault.file, str(fault.line) if fault.line else "") if part)
    about = f"rule {fault.rule_id}: " if fault.rule_id else ""
    return f"{place}: {about}{fault.text}" if place else f"{about}{fault.text}"
