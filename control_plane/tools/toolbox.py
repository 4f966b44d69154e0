"""The tool registry: what agents, and other agents over MCP, may do with the fleet."""

import asyncio
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import InvalidArgument, OrQuantaError, Unavailable
from control_plane.fleet.prices import PriceTable
from control_plane.governor.governor import Governor
from control_plane.memory.contract import MemoryStore
from control_plane.model.identity import Principal, Role
from control_plane.model.tool import Json, ToolCall, ToolContext, ToolResult, ToolSpec, ToolStatus
from control_plane.reasoning.contract import Reasoner
from control_plane.reasoning.rules_only import NO_MODELS
from control_plane.store.database import Store
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.arguments import parse
from control_plane.tools.catalogue import TOOLS
from control_plane.tools.definition import RESULT_BYTES_MAX, AnyReadTool, AnyTool, AnyWriteTool, Ask, ReadTool, Sources
from control_plane.tools.diagnosing import Asker
from control_plane.tools.fleet_gpus import FleetGpus
from control_plane.tools.imported.server import ForeignTools
from control_plane.tools.job_diagnoses import JobDiagnoses
from control_plane.tools.proposals import Proposals, problem, status_of, told
from control_plane.tools.read_result import reader
from control_plane.tools.results import Shelf, bounded
from control_plane.tools.text import clean, token

log = structlog.get_logger()

_ERROR_MAX: Final = 1_000
_NOTHING: Final[Json] = {}
_PLANNED_KEY: Final = "planned"
_BETWEEN: Final = "."
"""Stands between the name of another server and that of its tool; no tool of our own has it."""


class Toolbox:
    """Every tool behind one call. `call` never raises for bad input: a refusal is a result that says what is right.

    `diagnoses` is what tells why jobs failed, to whoever asks, `asker` what asks a `reasoner` about causes for it,
    `gpus` what counts the fleet.
    """

    def __init__(
        self,
        store: Store,
        governor: Governor,
        *,
        logs: LogStore,
        telemetry: TelemetryWindows,
        memory: MemoryStore | None,
        prices: PriceTable,
        clock: Clock,
        foreign: ForeignTools | None = None,
        reasoner: Reasoner = NO_MODELS,
    ) -> None:
        self.asker = Asker(store, reasoner)
        self.diagnoses = JobDiagnoses(store, logs, telemetry, self.asker)
        self.gpus = FleetGpus()
        self._sources = Sources(store, logs, telemetry, memory, prices, clock, self.diagnoses, self.gpus)
        self._proposals = Proposals(store, governor)
        self._shelf = Shelf()
        self._foreign = foreign
        own: Iterable[AnyTool] = (*TOOLS, reader(self._shelf))
        self._tools: Mapping[str, AnyTool] = {tool.name: tool for tool in own}
        self._specs: Mapping[str, ToolSpec] = {name: tool.spec() for name, tool in sorted(self._tools.items())}

    async def run(self) -> None:
        """Keep up the connections to other servers until cancelled; without any there is nothing to do."""
        if self._foreign is not None:
            await self._foreign.run()

    def specs(self, role: Role) -> tuple[ToolSpec, ...]:
        """Return the tools that somebody with this role may use, by name."""
        foreign = self._foreign.specs() if self._foreign is not None else ()
        return tuple(spec for spec in (*self._specs.values(), *foreign) if role.allows(spec.role))

    def changes(self, name: str) -> bool:
        """Tell whether a tool proposes a change; false for one that is unknown."""
        return name in self._tools and not isinstance(self._tools[name], ReadTool)

    async def call(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Call a tool on behalf of somebody.

        A tool that changes something proposes an action whose id follows from `context.step_key`: repeating the step
        returns the same action as it is then. Every failure is a result with ERROR and a code.
        """
        tool = self._tools.get(call.name)
        foreign = self._foreign if tool is None and _BETWEEN in call.name else None
        if tool is None and foreign is None:
            return _error("UNKNOWN_TOOL", self._unknown(call.name, context.principal.role))
        spec = self._spec(call.name)
        if spec is not None and not context.principal.role.allows(spec.role):
            return _error(
                "ROLE_TOO_LOW",
                f"{spec.name} needs the role {spec.role.value}; this is a {context.principal.role.value}",
            )
        try:
            if tool is None or spec is None:
                assert foreign is not None
                return await self._from_elsewhere(foreign, call, context)
            async with asyncio.timeout(spec.timeout_seconds):
                return await self._called(tool, spec, call.arguments_json, context)
        except TimeoutError:
            return _error("TIMEOUT", f"{call.name} took longer than it may; repeat the same step")
        except OrQuantaError as error:
            return _error(error.reason, error.message)
        except Exception as error:
            log.exception("tool.failed", tool=token(call.name), caller=context.caller)
            return _error(
                "INTERNAL", f"{token(call.name)} failed by itself ({type(error).__name__}); see the server's log"
            )

    async def resolve_target(self, call: ToolCall, principal: Principal) -> str:
        """Return what a call would be about, with names resolved: the second part of a `planned` pair.

        A node's or a job's id, `n-.../reset_gpu` for a named repair, or a digest of jobs to launch; "" for a tool that
        only reads, for one that is unknown, and where the arguments name nothing that exists.
        """
        tool = self._tools.get(call.name)
        if tool is None or isinstance(tool, ReadTool):
            return ""
        try:
            wanted = parse(tool.arguments, call.arguments_json)
            wish = await self._proposals.wish(tool, wanted, Ask(principal, _PLANNED_KEY, _PLANNED_KEY))
        except OrQuantaError:
            return ""
        return wish.target

    def _spec(self, name: str) -> ToolSpec | None:
        if name in self._specs:
            return self._specs[name]
        foreign = self._foreign.specs() if self._foreign is not None else ()
        return next((spec for spec in foreign if spec.name == name), None)

    async def _from_elsewhere(self, foreign: ForeignTools, call: ToolCall, context: ToolContext) -> ToolResult:
        """Call a tool of another server; whatever it answers are strangers' words."""
        try:
            answer = await foreign.call(call.name, call.arguments_json)
        except Unavailable as error:  # it repeats what the server said
            return replace(_error(error.reason, error.message), untrusted=True)
        data, truncated = bounded(
            answer.output,
            bytes_max=RESULT_BYTES_MAX,
            shelf=self._shelf,
            user_id=context.principal.user_id,
            untrusted=True,
        )
        return ToolResult(
            status=ToolStatus.ERROR if answer.failed else ToolStatus.OK,
            data=data,
            evidence_id=f"tool:{token(call.name)}",
            error_code="TOOL_FAILED" if answer.failed else "",
            error="the tool itself says that it failed; see its texts" if answer.failed else "",
            truncated=truncated,
            untrusted=True,
        )

    async def _called(self, tool: AnyTool, spec: ToolSpec, arguments_json: str, context: ToolContext) -> ToolResult:
        if isinstance(tool, ReadTool):
            return await self._read(tool, spec, arguments_json, context)
        return await self._write(tool, spec, arguments_json, context)

    async def _read(self, tool: AnyReadTool, spec: ToolSpec, arguments_json: str, context: ToolContext) -> ToolResult:
        wanted = parse(tool.arguments, arguments_json)
        found = await tool.read(self._sources, context.principal, wanted)
        untrusted = tool.untrusted and not found.own_words
        data, truncated = bounded(
            found.output,
            bytes_max=spec.result_bytes_max,
            shelf=self._shelf,
            user_id=context.principal.user_id,
            untrusted=untrusted,
        )
        return ToolResult(
            status=ToolStatus.NO_DATA if found.empty else ToolStatus.OK,
            data=data,
            evidence_id=token(found.evidence_id),
            truncated=truncated,
            untrusted=untrusted,
        )

    async def _write(self, tool: AnyWriteTool, spec: ToolSpec, arguments_json: str, context: ToolContext) -> ToolResult:
        if not context.step_key:
            raise InvalidArgument(
                f"{spec.name} changes something and needs the key of its step", reason="STEP_KEY_MISSING"
            )
        wanted = parse(tool.arguments, arguments_json)
        action, wish = await self._proposals.propose(tool, wanted, context)
        data, truncated = bounded(
            told(action, wish),
            bytes_max=spec.result_bytes_max,
            shelf=self._shelf,
            user_id=context.principal.user_id,
            untrusted=False,
        )
        code, words = problem(action)
        return ToolResult(
            status=ToolStatus.DRY_RUN if context.dry_run else status_of(action),
            data=data,
            evidence_id="" if context.dry_run else f"action:{action.id}",
            error_code=code,
            error=words,
            action_id=None if context.dry_run else action.id,
            truncated=truncated,
        )

    def _unknown(self, name: str, role: Role) -> str:
        known = [spec.name for spec in self.specs(role)]
        near = difflib.get_close_matches(name[:100], known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        return f"there is no tool {clean(name, most=60, lines=False)!a}; {hint}"


def _error(code: str, text: str) -> ToolResult:
    return ToolResult(ToolStatus.ERROR, _NOTHING, error_code=code, error=clean(text, most=_ERROR_MAX))
