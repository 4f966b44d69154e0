"""Which tools of an MCP server the operator allows, and what the operator says that they do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from control_plane.model.identity import Role
from control_plane.model.tool import ToolSpec
from control_plane.tools.output import Output, Text


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """An MCP server: a command to start (argv), or a URL, with a bearer token if it wants one.

    `tools` are the ones allowed, each with the hash of the definition that the operator has confirmed ("" for the
    first one seen). `reads` are those of them that change nothing, by the operator's own word.
    """

    name: str
    tools: Mapping[str, str]
    reads: frozenset[str] = frozenset()
    command: tuple[str, ...] = ()
    url: str = ""
    token: str = field(default="", repr=False)
    role: Role = Role.USER
    timeout_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool as its server describes it: hostile. `description` and `input_schema` are as they came."""

    name: str
    description: str
    input_schema: Mapping[str, object]


class ForeignOut(Output):
    """What a tool of another server has answered. `structured_json` is JSON, cut if it is long."""

    texts: tuple[Text, ...]
    structured_json: Text
    left_out_parts: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `failed` says that the tool itself calls it an error."""

    output: ForeignOut
    failed: bool


class ForeignTools(Protocol):
    """What the toolbox knows of tools from elsewhere."""

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return the ones that can be called now, as `<server>.<tool>`."""
        ...

    async def run(self) -> None:
        """Keep up the connections until cancelled."""
        ...

    async def call(self, name: str, arguments_json: str) -> Answer:
        """Call one. Raises domain errors; one that may not be called says what the operator would have to do."""
        ...
