"""The host's tools: one table of commands, absolute paths found at the start, no shell, bounded time and output."""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from node_agent.repair import arguments
from node_agent.repair.commands import ToolResult, run_bounded
from node_agent.repair.errors import BadArgument, StepFailed

DIRECTORIES: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
MARKER: Final = "ORQUANTA_REPAIR"
"""Every command of a repair carries this variable with the repair's id: so a later daemon finds what still runs."""


class Tool(Enum):
    """The programs that a repair may run."""

    NVIDIA_SMI = "nvidia-smi"
    SYSTEMCTL = "systemctl"
    MODPROBE = "modprobe"
    BUG_REPORT = "nvidia-bug-report.sh"


class Action(Enum):
    """What they may be run for."""

    RESET_GPUS = "reset GPUs"
    STOP_SERVICE = "stop a service"
    START_SERVICE = "start a service"
    RESTART_SERVICE = "restart a service"
    SHOW_SERVICES = "show services"
    UNLOAD_MODULE = "unload a module"
    LOAD_MODULE = "load a module"
    REBOOT = "reboot"
    BUG_REPORT = "write a bug report"


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table."""

    tool: Tool
    words: tuple[str, ...]
    timeout_seconds: float
    check: Callable[..., str | tuple[str, ...]] | None = None
    """Makes the last words from the one value that the action takes, or raises BadArgument."""


_TABLE: Final[Mapping[Action, _Row]] = {
    Action.RESET_GPUS: _Row(Tool.NVIDIA_SMI, ("--gpu-reset", "-i"), 180.0, arguments.pci_bus_ids),
    Action.STOP_SERVICE: _Row(Tool.SYSTEMCTL, ("stop", "--"), 120.0, arguments.service),
    Action.START_SERVICE: _Row(Tool.SYSTEMCTL, ("start", "--"), 120.0, arguments.service),
    Action.RESTART_SERVICE: _Row(Tool.SYSTEMCTL, ("restart", "--"), 180.0, arguments.service),
    Action.SHOW_SERVICES: _Row(
        Tool.SYSTEMCTL, ("show", "--property=Id,LoadState,ActiveState,MainPID", "--"), 20.0, arguments.services
    ),
    Action.UNLOAD_MODULE: _Row(Tool.MODPROBE, ("-r", "--"), 120.0, arguments.module),
    Action.LOAD_MODULE: _Row(Tool.MODPROBE, ("--",), 120.0, arguments.module),
    Action.REBOOT: _Row(Tool.SYSTEMCTL, ("reboot",), 60.0),
    Action.BUG_REPORT: _Row(Tool.BUG_REPORT, ("--output-file",), 300.0, arguments.report_file),
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of the table."""

    action: Action
    tool: Tool
    argv: tuple[str, ...]
    """The first word is the tool's absolute path, or its bare name if it was not found."""
    timeout_seconds: float

    def __str__(self) -> str:
        return " ".join(self.argv)


class Toolbox:
    """Builds and runs the commands of the table."""

    def __init__(self, directory: Path | None = None) -> None:
        """Find the tools. With `directory`, only there: for tests and game days, whose scripts stand in for tools."""
        self.overridden = directory is not None
        """Whether other programs stand in for the host's tools."""
        places = (str(directory),) if directory is not None else DIRECTORIES
        trusted = directory is not None
        self._paths = {tool: _find(tool.value, places, trusted=trusted) for tool in Tool}

    def has(self, action: Action) -> bool:
        """Say whether the tool for an action is there."""
        return self._paths[_TABLE[action].tool] is not None

    def missing(self, action: Action) -> str:
        """Say what is missing for an action, for a person; empty if nothing is."""
        tool = _TABLE[action].tool
        if self._paths[tool] is not None:
            return ""
        return f"{tool.value} was not found in {', '.join(DIRECTORIES)} when the daemon started"

    def command(self, action: Action, value: str | Sequence[str] | None = None) -> Command:
        """Return the command line of an action; raises BadArgument for a value that is not of the action's kind."""
        row = _TABLE[action]
        if (row.check is None) != (value is None):
            raise BadArgument(f"{action.value}: {'no' if row.check is None else 'one'} value belongs to it")
        last = () if row.check is None else row.check(value)
        words = (*row.words, *((last,) if isinstance(last, str) else last))
        path = self._paths[row.tool]
        return Command(action, row.tool, (path or row.tool.value, *words), row.timeout_seconds)

    async def run(self, command: Command, *, repair_id: str) -> ToolResult:
        """Run a command to its end or its time limit; raises StepFailed if it cannot be started.

        When the caller is cancelled, the command goes on: a reset that is cut off does more harm than one that ends
        alone. The marker in its environment lets the next daemon find it.
        """
        if self._paths[command.tool] is None:
            raise StepFailed(self.missing(command.action))
        environment = {"PATH": ":".join(DIRECTORIES), "LANG": "C", "HOME": "/", MARKER: repair_id}
        return await run_bounded(command.argv, environment, command.timeout_seconds)


def _find(name: str, places: Sequence[str], *, trusted: bool) -> str | None:
    for place in places:
        path = f"{place}/{name}"
        try:
            found = os.stat(path)  # noqa: PTH116 - the path must stay a plain string of the table
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
            continue
        if trusted or (found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            return path
    return None
