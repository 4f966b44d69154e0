"""One connection to the broker, from connect to close; it never reconnects."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nats.errors
import structlog
from nats.js import JetStreamContext

from control_plane.bus.cancellation import heeded
from control_plane.bus.publishing import ACK_SECONDS, Publisher
from control_plane.bus.wire import WireClient
from control_plane.errors import (
    OrQuantaError,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger()

_CONNECT_SECONDS: Final = 5
_PING_SECONDS: Final = 5  # two pings without an answer end the connection
_LOOK_SECONDS: Final = 0.5
_LOOKS_WITHOUT_CONNECTION: Final = 2
_CLOSE_SECONDS: Final = 1.0  # nats-py waits for ever for a connection whose handshake has failed

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
    """A connected nats-py client, its end (`closed`), and what publishes to streams on it."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream(timeout=ACK_SECONDS)
        self.closed = asyncio.Event()
        self.publisher = Publisher(client, self.closed)

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

    async def _prepare(self) -> None:
        await self.publisher.start()

    def _end(self) -> None:
        self.closed.set()
        self.publisher.end()


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
