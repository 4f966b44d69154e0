"""Reads the fields of one entry of a file, and notes what is wrong with them."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from control_plane.governor.policy.files import Entries, Items, Scalar, printable
from control_plane.governor.policy.model import FAULTS_MAX, Fault

_T = TypeVar("_T")


class FieldReader:
    """Reads fields of one file. `rule_id` is the rule that faults are about, if they are about one."""

    def __init__(self, file: str, faults: list[Fault]) -> None:
        self.file = file
        self.rule_id = ""
        self._faults = faults

    def blame(self, line: int, text: str) -> None:
        """Note a fault; beyond twice what is ever shown, no more are kept."""
        if len(self._faults) < 2 * FAULTS_MAX:
            self._faults.append(Fault(printable(self.file), line, self.rule_id, printable(text)))

    def only(self, entry: Entries, known: Sequence[str]) -> None:
        """Note every name that is not known."""
        for name in entry.entries:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
                self.blame(entry.lines[name], f"there is no {name[:60]!a} here; {hint}")

    def text(self, entry: Entries, name: str, *, most: int, required: bool = True) -> str:
        """Return a text; empty if it is wrong or missing."""
        found = entry.entries.get(name)
        if found is None:
            if required:
                self.blame(entry.line, f"{name} is missing")
            return ""
        if not isinstance(found, Scalar) or found.tag == "null" or not found.text.strip():
            self.blame(entry.lines[name], f"{name} should be a text")
            return ""
        if len(found.text) > most:
            self.blame(entry.lines[name], f"{name} has {len(found.text)} characters; at most {most} are allowed")
            return ""
        return found.text.strip()

    def texts(self, entry: Entries, name: str, *, most: int) -> tuple[str, ...]:
        """Return a list of texts; empty if there is none."""
        found = entry.entries.get(name)
        if found is None:
            return ()
        if not isinstance(found, Items) or not all(isinstance(item, Scalar) for item in found.items):
            self.blame(entry.lines[name], f"{name} should be a list of texts, like [a, b]")
            return ()
        if len(found.items) > most:
            self.blame(entry.lines[name], f"{name} has {len(found.items)} entries; at most {most} are allowed")
            return ()
        return tuple(item.text.strip() for item in found.items if isinstance(item, Scalar))

    def number(self, entry: Entries, name: str, *, least: int, most: int, otherwise: int) -> int:
        """Return a whole number; `otherwise` if it is wrong or missing."""
        found = entry.entries.get(name)
        if found is None:
            return otherwise
        value = found.plain() if isinstance(found, Scalar) else None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.blame(entry.lines[name], f"{name} should be a number from {least} to {most}")
            return otherwise
        return value

    def one_of(self, entry: Entries, name: str, known: Mapping[str, _T]) -> _T | None:
        """Return what one of the known words stands for; None if it is wrong or missing."""
        text = self.text(entry, name, most=60)
        if not text:
            return None
        if text not in known:
            self.blame(entry.lines[name], f"{name} is {text!a}; it should be {_either(known)}")
            return None
        return known[text]


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
