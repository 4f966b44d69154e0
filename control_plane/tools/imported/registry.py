"""The tools of other MCP servers that may be called: allowed, unchanged, and read-only by the operator's word."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped] # it ships no types
import structlog

from control_plane.errors import InvalidArgument, NotFound, PreconditionFailed
from control_plane.model.redaction import redact_json
from control_plane.model.tool import ToolEffect, ToolSpec
from control_plane.tools.arguments import load_object
from control_plane.tools.imported.connection import Connection, texts_of
from control_plane.tools.imported.definitions import UnusableDefinitionError, definition_hash, spec_of
from control_plane.tools.imported.pins import Pins
from control_plane.tools.imported.server import Answer, Definition, ForeignOut, ForeignServer
from control_plane.tools.results import dumped
from control_plane.tools.text import clean, token

log = structlog.get_logger()

TEXTS_MAX: Final = 32
STRUCTURED_MAX: Final = 16 * 1024
"""Characters of a structured answer that are looked at; what is shown of it is cut further."""
_PROBLEM_MAX: Final = 300


class ImportedTools:
    """Tools from elsewhere. `run` keeps the connections up."""

    def __init__(self, servers: Sequence[ForeignServer], pins: Pins) -> None:
        self._pins = pins
        self._connections = {server.name: Connection(server, self._listed) for server in servers}
        self._specs: dict[str, ToolSpec] = {}
        self._refused: dict[str, str] = {}

    async def run(self) -> None:
        """Keep up all connections until cancelled."""
        async with asyncio.TaskGroup() as group:
            for connection in self._connections.values():
                group.create_task(connection.run())

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return the tools that can be called now, as `<server>.<tool>`, by name."""
        return tuple(spec for _, spec in sorted(self._specs.items()))

    async def call(self, name: str, arguments_json: str) -> Answer:
        """Call a tool.

        Raises:
            PreconditionFailed: TOOL_NOT_ALLOWED; the message says what the operator would have to do.
            NotFound: UNKNOWN_TOOL. InvalidArgument: ARGUMENTS_INVALID, SECRET_IN_ARGUMENTS. Unavailable.
        """
        spec = self._specs.get(name)
        if spec is None:
            raise self._refusal(name)
        arguments = load_object(arguments_json)
        _check(spec, arguments)
        connection = self._connections[spec.origin]
        result = await connection.call(name.removeprefix(f"{spec.origin}."), arguments)
        texts, others = texts_of(result)
        output = ForeignOut(
            texts=texts[:TEXTS_MAX],
            structured_json=_structured(result.structured_content),
            left_out_parts=others + max(0, len(texts) - TEXTS_MAX),
        )
        return Answer(output, failed=result.is_error)

    def _refusal(self, name: str) -> NotFound | PreconditionFailed:
        if name in self._refused:
            return PreconditionFailed(self._refused[name], reason="TOOL_NOT_ALLOWED")
        server = name.partition(".")[0]
        if server in self._connections:
            return NotFound(
                f"{clean(name, most=80, lines=False)!a} is no tool of {server} that the operator allows, or the server "
                "is away",
                reason="UNKNOWN_TOOL",
            )
        return NotFound(f"there is no MCP server {token(server)} here", reason="UNKNOWN_TOOL")

    def _listed(self, server: ForeignServer, definitions: tuple[Definition, ...]) -> None:
        """Take what a server offers now for what can be called of it."""
        prefix = f"{server.name}."
        specs = {name: spec for name, spec in self._specs.items() if not name.startswith(prefix)}
        refused = {name: text for name, text in self._refused.items() if not name.startswith(prefix)}
        seen: set[str] = set()
        for definition in definitions:
            name = f"{prefix}{definition.name}"
            if definition.name not in server.tools:
                continue
            problem = "it is offered twice" if name in seen else self._problem(server, definition)
            seen.add(name)
            if problem:
                specs.pop(name, None)
                refused[name] = f"{name} cannot be called: {problem}"
                if self._refused.get(name) != refused[name]:
                    log.warning("tool.refused", tool=name, reason=problem)
            else:
                specs[name] = spec_of(server, definition)
        self._specs, self._refused = specs, refused

    def _problem(self, server: ForeignServer, definition: Definition) -> str:
        found = definition_hash(definition)
        if not self._pins.check(f"{server.name}.{definition.name}", found, server.tools[definition.name]):
            return (
                f"its definition is not the one that was allowed; look at it, and confirm it in mcp_servers with "
                f"{definition.name}@{found[:16]}"
            )
        try:
            spec = spec_of(server, definition)
        except UnusableDefinitionError as error:
            return str(error)
        if spec.effect is not ToolEffect.READ:
            return (
                "it may change something outside, which no governor could judge or take back; only tools that the "
                "operator lists under read in mcp_servers are called"
            )
        return ""


def _check(spec: ToolSpec, arguments: dict[str, Any]) -> None:  # Any: JSON
    found = jsonschema.Draft202012Validator(dict(spec.input_schema)).iter_errors(arguments)
    problems = [f"{'.'.join(map(str, error.path)) or 'arguments'}: {error.message}" for error in found]
    if problems:
        told = clean("; ".join(problems), most=_PROBLEM_MAX, lines=False)
        raise InvalidArgument(f"the arguments cannot be used: {told}", reason="ARGUMENTS_INVALID")
    if redact_json(arguments) != arguments:
        raise InvalidArgument(
            "the arguments hold what looks like a secret; nothing secret is given to other servers",
            reason="SECRET_IN_ARGUMENTS",
        )


def _structured(content: Any) -> str:  # Any: a stranger's JSON
    if content is None:
        return ""
    try:
        whole = dumped(content)
        # Looking for secrets takes a second for each megabyte: of a huge one only the head is looked at, as text.
        return whole[:STRUCTURED_MAX] if len(whole) > STRUCTURED_MAX else dumped(redact_json(content))
    except (TypeError, ValueError, RecursionError):
        return json.dumps("not to be shown")
