"""The form of a setting that names an MCP server whose tools agents may use."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import override

_SERVERS_MAX: Final = 8
_TOOLS_MAX: Final = 32
_EXAMPLE: Final = "name=docs command='docs-mcp --stdio' tools=search;fetch read=search"
_TOOL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(@[0-9a-f]{12,64})?")
_LISTS: Final = frozenset({"tools", "read"})
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class McpServer(BaseModel):
    """One MCP server: a table in the settings file, or words of the form key=value in a text, lists joined by `;`.

    `tools` are the ones that agents may use, `name` or `name@hash`: the hash of a changed definition that the operator
    has looked at. `read` are those of them that change nothing, by the operator's own word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    tools: Annotated[tuple[str, ...], Field(max_length=_TOOLS_MAX)]
    read: Annotated[tuple[str, ...], Field(max_length=_TOOLS_MAX)] = ()
    command: tuple[str, ...] = ()
    url: Annotated[str, Field(max_length=512)] = ""
    token_file: Path | None = None
    role: Literal["viewer", "user", "operator", "admin"] = "user"
    timeout_seconds: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 20.0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:  # Any: as written in the source
        if not isinstance(value, str):
            return value
        found: dict[str, Any] = {}  # Any: as above
        for word in shlex.split(value):
            key, equals, text = word.partition("=")
            if not equals:
                raise ValueError(f"should be words of the form key=value, for example {_EXAMPLE}")
            found[key] = tuple(filter(None, text.split(";"))) if key in _LISTS else text
        return found

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # Any: as written in the source
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> "McpServer":
        if self.name == "orquanta":
            raise ValueError("orquanta is the name of our own tools; choose another")
        if bool(self.command) is bool(self.url):
            raise ValueError("should have a command or a url, and not both")
        if any(not _TOOL.fullmatch(tool) for tool in self.tools):
            raise ValueError("tools should be names such as search, or search@ and the hash of what was confirmed")
        names = {tool.partition("@")[0] for tool in self.tools}
        if set(self.read) - names:
            raise ValueError("read should name some of the tools")
        parts = urlsplit(self.url)
        if self.url and not (
            parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
        ):
            raise ValueError("url should begin with https:// (http:// for this machine only)")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url should hold no password; name a file in token_file")
        return self

    @override
    def __str__(self) -> str:
        """Tell of it without what is secret."""
        return f"name={self.name} {'command=' + self.command[0] if self.command else 'url=' + self.url}"


def _distinct(servers: tuple[McpServer, ...]) -> tuple[McpServer, ...]:
    if len(servers) > _SERVERS_MAX:
        raise ValueError(f"should be at most {_SERVERS_MAX} servers")
    names = [server.name for server in servers]
    if len(set(names)) < len(names):
        raise ValueError("should have a name of its own for each server")
    return servers


McpServers = Annotated[tuple[McpServer, ...], AfterValidator(_distinct)]
"""MCP servers whose tools agents may use."""
