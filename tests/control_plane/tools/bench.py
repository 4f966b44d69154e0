"""A toolbox on a real store, and calls in few words."""

import json
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import jsonschema  # type: ignore[import-untyped] # it ships no types

from control_plane.model.account import User
from control_plane.model.identity import Principal, Role
from control_plane.model.tool import ToolCall, ToolContext, ToolResult, ToolStatus
from control_plane.store import nodes
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.world import World, principal

CALLER = "orchestrator_agent"


@dataclass
class Bench:
    """A toolbox and the fleet that it is about."""

    world: World
    toolbox: Toolbox
    logs: LogStore
    telemetry: TelemetryWindows
    _numbers: "count[int]" = field(default_factory=count)
    _people: dict[Role, Principal] = field(default_factory=dict)

    async def person(self, role: Role = Role.OPERATOR) -> Principal:
        if role not in self._people:
            self._people[role] = principal(await self.account(role.value, role))
        return self._people[role]

    async def account(self, name: str, role: Role = Role.USER) -> User:
        return await self.world.user(name, role=role)

    async def node(self, name: str = "alpha", **made_of: Any) -> str:  # Any: what World.node takes
        """Record a connected node and return its id."""
        node = await self.world.node(name, **made_of)
        await self.world.store.write(lambda tx: nodes.update(tx, node.id, connected=True))
        return node.id

    async def context(self, role: Role = Role.OPERATOR, **given: Any) -> ToolContext:  # Any: fields of the context
        fresh = ToolContext(await self.person(role), CALLER, step_key=f"run-1/{next(self._numbers)}")
        return replace(fresh, **given)

    async def call(
        self, name: str, *, role: Role = Role.OPERATOR, context: ToolContext | None = None, **arguments: Any
    ) -> ToolResult:  # Any: arguments of any tool
        """Call a tool; a result that tells something must fit the tool's schema."""
        wanted = ToolCall(name, json.dumps(arguments))
        result = await self.toolbox.call(wanted, context or await self.context(role))
        if result.data:
            spec = next(spec for spec in self.toolbox.specs(Role.ADMIN) if spec.name == name)
            jsonschema.validate(dict(result.data), dict(spec.output_schema))
        return result

    async def data(self, name: str, *, role: Role = Role.OPERATOR, **arguments: Any) -> dict[str, Any]:  # Any: JSON
        result = await self.call(name, role=role, **arguments)
        assert result.status in (ToolStatus.OK, ToolStatus.NO_DATA), (result.error_code, result.error)
        return dict(result.data)
