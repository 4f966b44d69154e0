"""Repeat offenders: GPUs and hosts that had to be repaired again and again."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from node_agent.health.findings import Finding
from node_agent.health.host import MAXIMUM_GPUS
from node_agent.health.model import Authority, Rung, Scope, Severity
from node_agent.health.rules import HealthRules

HOST: Final = ""
"""The host itself among the subjects, which are UUIDs of GPUs otherwise."""
MAXIMUM_REPAIRS: Final = 64
"""Repairs that are remembered of one GPU or host."""
COUNTED: Final = frozenset({Rung.RESET_GPU, Rung.RESTART_SERVICE, Rung.RELOAD_DRIVER, Rung.REBOOT_HOST})
"""Rungs that count as a repair: stopping a process or moving a job mends no machine."""


class Lemons:
    """Counts repairs that succeeded: the fault came back each time."""

    def __init__(self, rules: HealthRules, repairs: Mapping[str, Sequence[datetime]]) -> None:
        self._rules = rules
        self._repairs = {subject: list(times)[-MAXIMUM_REPAIRS:] for subject, times in repairs.items()}

    def note(self, subject: str, rung: Rung, at: datetime) -> None:
        """Note a repair of a GPU, or of the host."""
        if rung not in COUNTED or (len(self._repairs) > MAXIMUM_GPUS and subject not in self._repairs):
            return
        times = self._repairs.setdefault(subject, [])
        times.append(at)
        oldest = at - timedelta(seconds=self._rules.lemon_window_seconds)
        self._repairs[subject] = [one for one in times if one > oldest][-MAXIMUM_REPAIRS:]

    def count(self, subject: str, at: datetime) -> int:
        """Return how often a GPU or the host was repaired within the window before `at`."""
        times = self._repairs.get(subject)
        if not times:
            return 0
        oldest = at - timedelta(seconds=self._rules.lemon_window_seconds)
        return sum(one > oldest for one in times)

    def forgive(self, subject: str) -> None:
        """Forget the repairs of a GPU or the host: an operator says that it is well."""
        self._repairs.pop(subject, None)

    def repairs(self) -> dict[str, tuple[datetime, ...]]:
        """Return all that is remembered."""
        return {subject: tuple(times) for subject, times in self._repairs.items()}

    def finding(self, subject: str, pci_bus_id: str, at: datetime) -> Finding | None:
        """Return the finding that a GPU or the host is a repeat offender, if it is."""
        if self.count(subject, at) < self._rules.lemon_repairs:
            return None
        days = self._rules.lemon_window_seconds / 86400
        what = "GPU" if subject else "host"
        return Finding(
            id=f"gpu/{subject}/lemon" if subject else "host/lemon",
            scope=Scope.GPU if subject else Scope.HOST,
            subject=subject,
            kind="LEMON",
            severity=Severity.FATAL,
            summary=f"The {what} had to be repaired {self._rules.lemon_repairs} times or more within {days:.0f} days",
            gpu_uuid=subject,
            pci_bus_id=pci_bus_id,
            repair=Rung.QUARANTINE,
            authority=Authority.RULE,
            sticky=True,
            cured_by_boot=False,
        )
