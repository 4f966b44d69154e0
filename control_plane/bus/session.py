"""One connection to the broker, from connect to close; it never reconnects."""

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import Header

from control_plane.bus.cancellation import heeded
from control_plane.bus.messages import Receipt
from control_plane.bus.wire import WireClient
from control_plane.errors import (
    InvalidArgument,
    OrQuantaError,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger()

_CONNECT_SECONDS: Final = 5
_PING_SECONDS: Final = 5  # two pings without an answer end the connection
_ACK_SECONDS: Final = 5.0
_MAX_UNACKNOWLEDGED: Final = 4096  # publishes in flight; more wait
_LOOK_SECONDS: Final = 0.5
_LOOKS_WITHOUT_CONNECTION: Final = 2
_CLOSE_SECONDS: Final = 1.0  # nats-py waits for ever for a connection whose handshake has failed
_STORAGE_ERRORS: Final = {10023, 10028, 10047, 10077}  # JetStream: resources, storage, stream bytes exceeded
_TOO_LARGE_ERROR: Final = 10054

ErrorCallback = Callable[[Exception], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BusEndpoint:
    """Where the broker is and how to prove who we are.

    urls: `tls://host:port`, tried in random order. The certificate files are read afresh for each connection, so
    a renewed certificate is picked up. Without `ca_file` the connection is not encrypted: for a broker on
    the same machine, in development.
    """

    urls: tuple[str, ...]
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_hostname: str | None = None


class Session:
    """A connected nats-py client, its end (`closed`) and its publishes that wait for JetStream's word."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream(timeout=_ACK_SECONDS)
        self.closed = asyncio.Event()
        self._numbers = itertools.count()
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._slots = asyncio.Semaphore(_MAX_UNACKNOWLEDGED)

    @classmethod
    async def open(cls, endpoint: BusEndpoint, *, name: str, on_error: ErrorCallback) -> "Session":
        """Connect.

        Raises:
            Unavailable: BUS_UNREACHABLE. Unauthenticated: BUS_REFUSED.
            PreconditionFailed: BUS_TLS; a certificate file is bad, or the broker's certificate is.
        """
        client = WireClient()
        session = cls(client)
        errors: list[Exception] = []

        async def connecting(error: Exception) -> None:
            errors.append(error)

        async def on_any_error(error: Exception) -> None:
            await (on_error if client.is_connected else connecting)(error)

        async def on_closed() -> None:
            session._end()

        options: dict[str, Any] = {  # Any: nats-py's own mixture of option types
            "user": endpoint.user,
            "password": endpoint.password,
        }
        if endpoint.ca_file is not None:
            options |= {
                "tls": _tls(endpoint),
                "tls_hostname": endpoint.tls_hostname,
                # The first bytes are TLS: nobody in between can talk us into plain text.
                "tls_handshake_first": True,
            }
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                with heeded():
                    await client.connect(
                        list(endpoint.urls),
                        name=name,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        connect_timeout=_CONNECT_SECONDS,
                        ping_interval=_PING_SECONDS,
                        max_outstanding_pings=2,
                        error_cb=on_any_error,
                        closed_cb=on_closed,
                        **options,
                    )
                    _check_connected(client)
                    await session._prepare()
        except (OSError, nats.errors.Error, TimeoutError) as error:
            await _close(client)
            raise _why(endpoint, [*errors, error]) from None
        except BaseException:
            await _close(client)
            raise
        return session

    async def ended(self) -> None:
        """Return when the connection is over.

        nats-py tells so at the end of its own closing, which may wait for ever for a broker that was killed meanwhile.
        """
        looks = 0
        while looks < _LOOKS_WITHOUT_CONNECTION:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.closed.wait()
            except TimeoutError:
                looks = 0 if self.client.is_connected else looks + 1
            else:
                return
        self._end()

    async def settle(self) -> None:
        """Return when the broker has processed all that was sent before, or the connection has ended."""
        settling = asyncio.ensure_future(self.client.settle())
        ending = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait({settling, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settling.cancel()
            ending.cancel()
            await asyncio.gather(settling, ending, return_exceptions=True)

    async def close(self) -> None:
        """Close the connection, after what was published has been sent."""
        if self.client.is_connected:
            await self.settle()
        await _close(self.client)
        self._end()

    async def publish_event(self, subject: str, data: bytes, message_id: str, headers: Mapping[str, str]) -> Receipt:
        """Publish to JetStream and wait for its word. Raises as `Bus.publish_event`."""
        async with self._slots:
            token = str(next(self._numbers))
            answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
            self._waiting[token] = answer
            try:
                if self.closed.is_set():
                    raise disconnected()
                sent = {**headers, Header.MSG_ID.value: message_id}
                await self.client.publish(subject, data, reply=f"{self._inbox}.{token}", headers=sent)
                async with asyncio.timeout(_ACK_SECONDS):
                    return _receipt(await answer, size_bytes=len(data))
            except nats.errors.MaxPayloadError:
                raise too_large(len(data)) from None
            except TimeoutError:
                raise Unavailable(
                    f"JetStream has not confirmed a message within {_ACK_SECONDS:g} seconds: publish it again "
                    "under the same id, and see that its disk has space",
                    reason="BUS_NO_CONFIRMATION",
                ) from None
            except nats.errors.Error as error:
                raise disconnected(str(error)) from None
            finally:
                del self._waiting[token]
                if not answer.done():
                    answer.cancel()

    async def _prepare(self) -> None:
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def _on_answer(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _end(self) -> None:
        self.closed.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(disconnected())


def disconnected(why: str = "") -> Unavailable:
    """Return the error for using the bus while there is no connection."""
    return Unavailable(
        f"there is no connection to the message broker just now{f' ({why})' if why else ''}: try again in a "
        "few seconds",
        reason="BUS_DISCONNECTED",
    )


def too_large(size_bytes: int) -> InvalidArgument:
    """Return the error for a message beyond the broker's or the stream's bound."""
    return InvalidArgument(
        f"a message of {size_bytes} bytes is larger than the broker takes: split it",
        reason="BUS_MESSAGE_TOO_LARGE",
    )


def _receipt(message: Msg, *, size_bytes: int) -> Receipt:
    if message.headers and message.headers.get(Header.STATUS.value):
        raise Unavailable(
            f"no stream takes messages to this subject (status {message.headers[Header.STATUS.value]}): the "
            "broker is starting, or its streams were deleted",
            reason="BUS_NO_STREAM",
        )
    answer: dict[str, Any] = json.loads(message.data)  # Any: JSON of the broker, a trusted peer
    failure = answer.get("error")
    if failure is None:
        return Receipt(answer["stream"], int(answer["seq"]), bool(answer.get("duplicate", False)))
    what = failure.get("description", "no reason given")
    if failure.get("err_code") == _TOO_LARGE_ERROR:
        raise too_large(size_bytes)
    if failure.get("err_code") in _STORAGE_ERRORS or "no space left" in what:
        raise ResourceExhausted(
            f"the broker cannot store a message ({what}): free space on its disk or raise its store limit",
            reason="BUS_STORAGE_FULL",
        )
    raise Unavailable(f"the broker has not stored a message ({what}): try again", reason="BUS_NOT_STORED")


def _tls(endpoint: BusEndpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if endpoint.certificate_file is not None:
            context.load_cert_chain(endpoint.certificate_file, endpoint.key_file)
    except OSError as error:
        raise PreconditionFailed(
            f"cannot use {endpoint.ca_file}, {endpoint.certificate_file} and {endpoint.key_file} to connect to "
            f"the message broker ({error}): check that they are PEM files and fit each other",
            reason="BUS_TLS",
        ) from None
    return context


def _why(endpoint: BusEndpoint, errors: list[Exception]) -> OrQuantaError:
    where = ", ".join(endpoint.urls)
    for error in errors:
        if isinstance(error, ssl.SSLCertVerificationError):
            return PreconditionFailed(
                f"the certificate of the message broker at {where} is not good ({error.verify_message}): check "
                "that it is signed by the CA that is configured and bears the host name that is used",
                reason="BUS_TLS",
            )
        if "authorization" in str(error).lower():
            return Unauthenticated(
                f"the message broker at {where} refuses user {endpoint.user!r}: check user, password and "
                "client certificate",
                reason="BUS_REFUSED",
            )
    cause = next((error for error in errors if not isinstance(error, nats.errors.NoServersError)), errors[-1])
    return Unavailable(
        f"the message broker at {where} cannot be reached ({str(cause) or type(cause).__name__}): check that it "
        "runs and that the address is right",
        reason="BUS_UNREACHABLE",
    )


def _check_connected(client: WireClient) -> None:
    """nats-py takes the end of the stream for the broker's word of welcome, and would wait on it for ever."""
    if not client.is_connected:
        raise nats.errors.ConnectionClosedError


async def _close(client: WireClient) -> None:
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
