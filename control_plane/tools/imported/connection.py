"""One connection to an MCP server, by the official library: kept up, listed again and again, bounded."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CallToolResult, TextContent

from control_plane.errors import Unavailable
from control_plane.tools.imported.server import Definition, ForeignServer
from control_plane.tools.text import clean

log = structlog.get_logger()

LIST_SECONDS: Final = 30.0
"""How often a server is asked for its tools: a changed definition is noticed within that time."""
CONNECT_SECONDS: Final = 20.0
CALLS_AT_ONCE: Final = 4
PAGES_MAX: Final = 10
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0

OnListed = Callable[[ForeignServer, tuple[Definition, ...]], None]
"""Is told what a server offers, each time it was asked; nothing when it is away."""


class Connection:
    """Keeps up a connection to one server. `run` owns it; `call` may be used from any task."""

    def __init__(
        self, server: ForeignServer, on_listed: OnListed, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.server = server
        self._on_listed = on_listed
        self._pause = pause
        self._client: Client | None = None
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._broken = asyncio.Event()

    async def run(self) -> None:
        """Connect, list, and connect again when the connection is lost; until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        client = await stack.enter_async_context(_connected(self.server))
                    pause = _FIRST_PAUSE_SECONDS
                    await self._serve(client)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's server does must not stop this one
                log.warning("mcp_server.lost", server=self.server.name, error=clean(_reason(error), most=300))
            finally:
                self._client = None
                self._on_listed(self.server, ())
            await self._pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _serve(self, client: Client) -> None:
        self._broken.clear()
        while not self._broken.is_set():
            async with asyncio.timeout(self.server.timeout_seconds):
                definitions = await _definitions(client)
            self._client = client
            self._on_listed(self.server, definitions)
            try:
                async with asyncio.timeout(LIST_SECONDS):
                    await self._broken.wait()
            except TimeoutError:
                continue

    async def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:  # Any: JSON
        """Call a tool. Raises Unavailable when the server is away, too slow, or breaks the protocol."""
        client = self._client
        if client is None:
            raise Unavailable(f"the MCP server {self.server.name} is not connected now; try later", reason="MCP_AWAY")
        try:
            async with asyncio.timeout(self.server.timeout_seconds), self._calls:
                return await client.call_tool(tool, arguments)
        except TimeoutError:
            raise Unavailable(
                f"{self.server.name}.{tool} took longer than {self.server.timeout_seconds:g} seconds",
                reason="MCP_TIMEOUT",
            ) from None
        except Exception as error:
            self._broken.set()
            raise Unavailable(
                f"{self.server.name}.{tool} could not be called: {clean(_reason(error), most=300)}", reason="MCP_AWAY"
            ) from error


@asynccontextmanager
async def _connected(server: ForeignServer) -> AsyncIterator[Client]:
    """Connect. A program gets none of our environment but PATH, HOME and their like, and says nothing in our log."""
    async with AsyncExitStack() as stack:
        transport: Any  # Any: the library's two kinds of transport
        if server.command:
            program = StdioServerParameters(command=server.command[0], args=list(server.command[1:]))
            transport = stdio_client(program, errlog=stack.enter_context(_nowhere()))
        else:
            headers = {"authorization": f"Bearer {server.token}"} if server.token else None
            http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
            transport = streamable_http_client(server.url, http_client=http)
        # Our own limit comes first: what the library says of its own would be taken for a broken connection.
        patience = 2 * server.timeout_seconds
        client = Client(transport, read_timeout_seconds=patience, cache=None, input_required_max_rounds=0)
        yield await stack.enter_async_context(client)


def _nowhere() -> TextIO:
    """Return where a stranger's program writes its errors to: our log is not its."""
    return Path(os.devnull).open("w")


async def _definitions(client: Client) -> tuple[Definition, ...]:
    found: list[Definition] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = await client.list_tools(cursor=cursor)
        found.extend(Definition(tool.name, tool.description or "", tool.input_schema) for tool in page.tools)
        cursor = page.next_cursor
        if not cursor:
            break
    return tuple(found)


def texts_of(result: CallToolResult) -> tuple[tuple[str, ...], int]:
    """Return the texts of a result, and how many parts of it are no text."""
    texts = tuple(part.text for part in result.content if isinstance(part, TextContent))
    return texts, len(result.content) - len(texts)


def _reason(error: BaseException) -> str:
    """Return the innermost reason; the library wraps what happens in its tasks into groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
