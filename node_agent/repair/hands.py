"""Carries out the toolbox's actions: by the host's tools or, where the GPUs are virtual, by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node_agent.repair.commands import ToolResult
from node_agent.repair.errors import StepFailed
from node_agent.repair.journal import Undo, UndoKind
from node_agent.repair.ports import HardwareControl, VirtualGpus
from node_agent.repair.toolbox import Action, Command, Toolbox

VIRTUALLY: Final = "carried out by the virtual GPUs"
_UNDO: Final = {UndoKind.START_SERVICE: Action.START_SERVICE, UndoKind.LOAD_MODULE: Action.LOAD_MODULE}


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service as systemd sees it."""

    loaded: bool
    active: bool
    main_pid: int
    text: str


class Hands:
    """Does what the table allows. On virtual GPUs no tool of the real host is run, unless scripts stand in for them."""

    def __init__(self, toolbox: Toolbox, hardware: HardwareControl) -> None:
        self._toolbox = toolbox
        self._hardware = hardware

    def runs_tools(self, action: Action) -> bool:
        """Say whether a program is run for an action."""
        if self._hardware.virtual is None:
            return True
        return self._toolbox.overridden and self._toolbox.has(action)

    def missing(self, action: Action) -> str:
        """Say what is missing for an action, for a person; empty if nothing is."""
        return self._toolbox.missing(action) if self.runs_tools(action) else ""

    def describe(self, action: Action, value: str | Sequence[str] | None = None) -> str:
        """Return the command line, and who carries it out if it is not the tool itself."""
        line = str(self._toolbox.command(action, value))
        return line if self._hardware.virtual is None else f"{line} ({VIRTUALLY})"

    async def do(self, action: Action, value: str | Sequence[str] | None = None, *, repair_id: str) -> str:
        """Do it and return what was said; raises StepFailed, and BadArgument for what the table does not take."""
        command = self._toolbox.command(action, value)
        said = ""
        if self.runs_tools(action):
            result = await self._toolbox.run(command, repair_id=repair_id)
            _check(command, result)
            said = result.text
        virtual = self._hardware.virtual
        if virtual is None:
            return said or f"{command}: done"
        effect = await _virtually(virtual, action, value, self._hardware)
        return f"{command}, {VIRTUALLY}: {effect}" + (f"; the stand-in said: {said}" if said else "")

    async def take_back(self, undo: Undo, *, repair_id: str) -> str:
        """Do an undo; raises StepFailed."""
        return await self.do(_UNDO[undo.kind], undo.subject, repair_id=repair_id)

    async def service_state(self, service: str, *, repair_id: str) -> ServiceState:
        """Ask systemd about a service; raises StepFailed."""
        if not self.runs_tools(Action.SHOW_SERVICES):
            return ServiceState(loaded=True, active=True, main_pid=0, text=f"{service} is active ({VIRTUALLY})")
        found = await self._show([service], repair_id)
        return found.get(service) or ServiceState(False, False, 0, f"systemd says nothing about {service}")

    async def main_processes(self, services: Sequence[str], *, repair_id: str) -> dict[int, str]:
        """Return the main processes of the services that run, by process id; raises StepFailed."""
        if self.missing(Action.SHOW_SERVICES) or not self.runs_tools(Action.SHOW_SERVICES):
            return {}
        found = await self._show(services, repair_id)
        return {state.main_pid: name for name, state in found.items() if state.active and state.main_pid > 1}

    async def _show(self, services: Sequence[str], repair_id: str) -> dict[str, ServiceState]:
        """Ask about services at once: systemd answers one block of lines for each, blocks apart by an empty line."""
        command = self._toolbox.command(Action.SHOW_SERVICES, services)
        result = await self._toolbox.run(command, repair_id=repair_id)
        _check(command, result)
        found = {}
        for block in result.output.decode(errors="replace").split("\n\n"):
            lines = (line.partition("=") for line in block.splitlines())
            values = {name.strip(): value.strip() for name, _, value in lines}
            name, main_pid = values.get("Id", ""), values.get("MainPID", "0")
            if name in services:
                found[name] = ServiceState(
                    loaded=values.get("LoadState") == "loaded",
                    active=values.get("ActiveState") == "active",
                    main_pid=int(main_pid) if main_pid.isdecimal() else 0,
                    text=f"{name}: {values.get('LoadState', '?')}, {values.get('ActiveState', '?')}"[:200],
                )
        return found


def _check(command: Command, result: ToolResult) -> None:
    if result.exit_code is None:
        raise StepFailed(f"{command} did not end within {command.timeout_seconds:.0f} s and was killed: {result.text}")
    if result.exit_code != 0:
        raise StepFailed(f"{command} ended with {result.exit_code}: {result.text or 'it said nothing'}")


async def _virtually(
    virtual: VirtualGpus, action: Action, value: str | Sequence[str] | None, hardware: HardwareControl
) -> str:
    if action is Action.RESET_GPUS and value is not None:
        wanted = {bus_id.lower() for bus_id in value}
        return await virtual.reset([gpu.uuid for gpu in hardware.gpus() if gpu.identity.pci_bus_id.lower() in wanted])
    if action is Action.RESTART_SERVICE:
        return await virtual.restart_service(str(value))
    if action is Action.LOAD_MODULE and value == "nvidia":
        return await virtual.reload_driver()
    return "nothing to do"
