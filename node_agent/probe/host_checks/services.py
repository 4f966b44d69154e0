"""Whether the services run that GPUs need, as systemd sees them."""

import os
from dataclasses import dataclass
from typing import Final

from node_agent.clock import Clock
from node_agent.probe.bounded.command import Commands
from node_agent.probe.bounded.text import printable, printable_bytes
from node_agent.probe.bounded.threads import NoThread, Stuck
from node_agent.probe.host_checks.settings import FABRIC_MANAGER, HostCheckSettings
from node_agent.probe.observations import HostFinding, HostReport, Standing

SUBJECT_ALL: Final = "systemd"
"""What a report is about that says that systemd does not answer."""
_PROPERTIES: Final = "Id,LoadState,ActiveState,SubState,UnitFileState"
_TIMEOUT_SECONDS: Final = 5.0
_MAXIMUM_SERVICES: Final = 32
_ENABLED: Final = frozenset({"enabled", "enabled-runtime", "alias", "generated"})


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit in systemd's own words; empty where it does not say."""

    load: str = ""
    active: str = ""
    sub: str = ""
    file: str = ""


def parse_units(text: str) -> list[UnitState]:
    """Return the units of what `systemctl show` printed, in the order in which they were asked for."""
    units = []
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values:
            states = (values.get(name, "") for name in ("LoadState", "ActiveState", "SubState", "UnitFileState"))
            units.append(UnitState(*(printable(state, 40) for state in states)))
    return units


def judge(unit: UnitState, *, needed: bool, ran_before: bool) -> tuple[Standing, str]:
    """Judge one unit. One that is not installed, masked or not enabled is no fault unless it is needed."""
    running = f"{unit.active} ({unit.sub})"
    if unit.load in ("not-found", ""):
        if needed:
            return Standing.BAD, "not installed, but this host needs it"
        return Standing.GOOD, "not installed"
    if unit.load not in {"loaded", "masked"}:
        return (Standing.BAD if needed else Standing.WARNING), f"cannot be loaded: {unit.load}"
    if unit.active == "failed" or unit.sub == "auto-restart":
        return Standing.BAD, f"failed: {running}"
    if unit.active in ("active", "reloading"):
        return Standing.GOOD, running
    if unit.active in ("activating", "deactivating"):
        return Standing.WARNING, running
    if needed:
        return Standing.BAD, f"does not run, but this host needs it: {unit.load}, {running}"
    if unit.load == "masked":
        return Standing.GOOD, "masked"
    if ran_before or unit.file in _ENABLED:
        return Standing.WARNING, f"does not run: {running}"
    return Standing.GOOD, f"not enabled: {running}"


class Services:
    """Asks systemd about all units at once, by a process that is killed at its deadline."""

    def __init__(self, settings: HostCheckSettings, clock: Clock, commands: Commands) -> None:
        self._settings = settings
        self._clock = clock
        self._commands = commands
        # Installed where there are no NVSwitches, the fabric manager fails by design: it is not asked for there.
        fabric_manager = (FABRIC_MANAGER,) if settings.fabric_manager_needed else ()
        self._units = tuple(dict.fromkeys((*fabric_manager, *settings.services)))[:_MAXIMUM_SERVICES]
        self._ran: set[str] = set()
        self._complained = False

    async def look(self) -> list[HostReport]:
        """Return how the services stand; nothing where there is no systemd."""
        program = next((path for path in self._settings.systemctl if os.access(path, os.X_OK)), None)
        if program is None or not self._settings.systemd_marker.is_dir():
            return []
        arguments = (program, "show", "--no-pager", f"--property={_PROPERTIES}", "--", *self._units)
        try:
            finished = await self._commands.run(arguments, key="systemctl", timeout_seconds=_TIMEOUT_SECONDS)
        except (Stuck, NoThread, OSError) as error:
            return [self._silent(f"systemctl cannot be run: {printable(str(error))}")]
        if finished.exit_code is None:
            return [self._silent(f"systemctl did not answer within {_TIMEOUT_SECONDS:g} s")]
        units = parse_units(finished.output.decode("utf-8", "replace"))
        if finished.exit_code != 0 or len(units) != len(self._units):
            problem = printable_bytes(finished.error) or f"{len(units)} of {len(self._units)} units were told"
            return [self._silent(f"systemctl ended with {finished.exit_code}: {problem}")]
        reports = [self._judged(name, unit) for name, unit in zip(self._units, units, strict=True)]
        return [*reports, *self._answers_again()]

    def _judged(self, name: str, unit: UnitState) -> HostReport:
        needed = name == FABRIC_MANAGER and self._settings.fabric_manager_needed
        standing, text = judge(unit, needed=needed, ran_before=name in self._ran)
        if unit.active == "active":
            self._ran.add(name)
        elif unit.load in ("not-found", "masked"):
            self._ran.discard(name)
        return self._report(name, standing, f"{name}: {text}")

    def _silent(self, text: str) -> HostReport:
        self._complained = True
        return self._report(SUBJECT_ALL, Standing.UNKNOWN, text)

    def _answers_again(self) -> list[HostReport]:
        if not self._complained:
            return []
        self._complained = False
        return [self._report(SUBJECT_ALL, Standing.GOOD, "systemd answers")]

    def _report(self, subject: str, standing: Standing, text: str) -> HostReport:
        return HostReport(HostFinding.SERVICE, subject, standing, printable(text), self._clock.now())
