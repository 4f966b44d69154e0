"""Serves the socket. Whoever may open it is trusted as an operator of this host: its directory guards it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import grpc
import structlog

from node_agent.files import make_directory
from node_agent.local.facade import LocalFacade
from orquanta.v1 import node_local_pb2, node_local_pb2_grpc

log = structlog.get_logger()

_SOCKET_UMASK: Final = 0o117  # the owner and the group may connect, nobody else
_DIRECTORY_MODE: Final = 0o750
_MAX_REQUEST_BYTES: Final = 64 * 1024
_MAX_STREAMS: Final = 32
_MAX_NAME_CHARACTERS: Final = 200
_GRACE_SECONDS: Final = 1.0
_PATH_BYTES_MAX: Final = 107  # of sockaddr_un
_T = TypeVar("_T")

Context = grpc.aio.ServicerContext[Any, Any]  # Any: a servicer's methods have requests of different types


class LocalServer:
    """One server on one socket."""

    def __init__(self, socket: Path, facade: LocalFacade) -> None:
        self._socket = socket
        self._facade = facade

    async def run(self) -> NoReturn:
        """Serve until cancelled. A socket that cannot be made is logged, and the daemon goes on without it."""
        server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
                ("grpc.max_concurrent_streams", _MAX_STREAMS),
            )
        )
        node_local_pb2_grpc.add_NodeLocalServiceServicer_to_server(_Servicer(self._facade), server)
        try:
            await self._start(server)
        except (OSError, RuntimeError) as error:
            log.error("socket.not_served", socket=str(self._socket), reason=str(error))  # noqa: TRY400 - the reason is whole
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop(_GRACE_SECONDS)
            self._socket.unlink(missing_ok=True)
        raise AssertionError("nothing sets that event")

    async def _start(self, server: grpc.aio.Server) -> None:
        if len(os.fsencode(self._socket)) > _PATH_BYTES_MAX:
            raise OSError(f"the path is longer than {_PATH_BYTES_MAX} bytes; set `socket` to a shorter one")
        make_directory(self._socket.parent, mode=_DIRECTORY_MODE)
        before = os.umask(_SOCKET_UMASK)
        try:
            server.add_insecure_port(f"unix:{self._socket}")  # the kernel keeps it on this host
            await server.start()
        finally:
            os.umask(before)


class _Servicer(node_local_pb2_grpc.NodeLocalServiceServicer):
    def __init__(self, facade: LocalFacade) -> None:
        self._facade = facade

    async def GetStatus(  # noqa: N802 - the contract's name
        self, _request: node_local_pb2.GetStatusRequest, _context: Context
    ) -> node_local_pb2.GetStatusResponse:
        return node_local_pb2.GetStatusResponse(status_json=json.dumps(self._facade.status()))

    async def ListConditions(  # noqa: N802 - the contract's name
        self, _request: node_local_pb2.ListConditionsRequest, _context: Context
    ) -> node_local_pb2.ListConditionsResponse:
        return node_local_pb2.ListConditionsResponse(conditions=self._facade.conditions())

    async def ListRepairs(  # noqa: N802 - the contract's name
        self, _request: node_local_pb2.ListRepairsRequest, _context: Context
    ) -> node_local_pb2.ListRepairsResponse:
        return node_local_pb2.ListRepairsResponse(repairs=self._facade.repairs())

    async def WatchEvents(  # noqa: N802 - the contract's name
        self, request: node_local_pb2.WatchEventsRequest, _context: Context
    ) -> AsyncIterator[node_local_pb2.WatchEventsResponse]:
        since: datetime | None = request.since.ToDatetime(tzinfo=UTC) if request.HasField("since") else None
        async with aclosing(self._facade.events(since, follow=request.follow)) as events:
            async for event in events:
                yield node_local_pb2.WatchEventsResponse(event=event)

    async def AcknowledgeCondition(  # noqa: N802 - the contract's name
        self, request: node_local_pb2.AcknowledgeConditionRequest, context: Context
    ) -> node_local_pb2.AcknowledgeConditionResponse:
        by = _name(request.by)
        condition = await _answered(context, lambda: self._facade.acknowledge(request.condition_id, by))
        return node_local_pb2.AcknowledgeConditionResponse(condition=condition)

    async def ClearCondition(  # noqa: N802 - the contract's name
        self, request: node_local_pb2.ClearConditionRequest, context: Context
    ) -> node_local_pb2.ClearConditionResponse:
        by = _name(request.by)
        await _answered(context, lambda: self._facade.clear(request.condition_id, by))
        return node_local_pb2.ClearConditionResponse()

    async def InjectFault(  # noqa: N802 - the contract's name
        self, request: node_local_pb2.InjectFaultRequest, context: Context
    ) -> node_local_pb2.InjectFaultResponse:
        message = await _answered(context, lambda: self._facade.inject(request))
        return node_local_pb2.InjectFaultResponse(message=message)


def _name(text: str) -> str:
    """Return who speaks, as it may stand in records."""
    printable = "".join(character for character in text[:_MAX_NAME_CHARACTERS] if character.isprintable())
    return printable or "operator on the host"


async def _answered(context: Context, call: Callable[[], Awaitable[_T]]) -> _T:
    """Return what the daemon says, or end the call with the status that fits its error."""
    try:
        return await call()
    except LookupError as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]) if error.args else "there is no such thing")
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except PermissionError as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    raise AssertionError("abort raises")
