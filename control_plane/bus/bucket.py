"""A small key-value store in JetStream: the newest value of each key, changed by compare-and-set."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import nats.errors
import nats.js.errors
import structlog
from nats.js import api
from nats.js.api import Header

from control_plane.bus.cancellation import heeded
from control_plane.bus.client import Bus
from control_plane.bus.publishing import disconnected
from control_plane.bus.subscriptions import Handler, Subscription
from control_plane.errors import Unavailable

log = structlog.get_logger()

REPLICAS: Final = 3
"""Copies of each value, where the brokers are a cluster."""

_ANSWER_SECONDS: Final = 1.0
_VALUE_BYTES_MAX: Final = 16 * 1024
_BUCKET_BYTES_MAX: Final = 1 << 20
_AGE_SECONDS_MAX: Final = 86_400
_WRONG_REVISION: Final = frozenset({10071, 10164})
_NOT_CLUSTERED: Final = 10074
_SETUP_SECONDS: Final = 30.0
_SETUP_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its revision, which grows with every change in the bucket."""

    value: bytes
    revision: int


class Bucket:
    """One bucket. Every call asks the servers' elected leader, so what is read is never older than what was written."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}"

    async def ensure(self) -> int:
        """Make the bucket if it is missing; return how many servers keep it: three, or one without a cluster.

        Servers that have just started elect their leaders first, so this waits for half a minute. Raises Unavailable.
        """
        replicas = REPLICAS
        last: Unavailable | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETUP_SECONDS):
                while True:
                    try:
                        with _explained("set up the bucket"), heeded():
                            return await self._made(replicas)
                    except nats.js.errors.APIError as error:
                        if error.err_code == _NOT_CLUSTERED and replicas > 1:
                            log.warning("bucket.one_copy", why="the broker is a single server: its loss stops the lead")
                            replicas = 1
                            continue
                        last = disconnected(str(error))
                    except Unavailable as error:
                        last = error
                    await asyncio.sleep(_SETUP_PAUSE_SECONDS)
        raise last or disconnected("it does not set up the bucket")

    async def _made(self, replicas: int) -> int:
        jetstream = self._bus.connection().jetstream
        with contextlib.suppress(nats.js.errors.NotFoundError):
            found = await jetstream.stream_info(self._stream)
            return found.config.num_replicas or 1
        await jetstream.add_stream(
            api.StreamConfig(
                name=self._stream,
                subjects=[f"{self._prefix}.>"],
                max_msgs_per_subject=1,
                max_bytes=_BUCKET_BYTES_MAX,
                max_age=_AGE_SECONDS_MAX,
                max_msg_size=_VALUE_BYTES_MAX,
                discard=api.DiscardPolicy.OLD,
                storage=api.StorageType.FILE,
                num_replicas=replicas,
                allow_direct=False,
            )
        )
        return replicas

    async def get(self, key: str) -> Entry | None:
        """Return the newest value of a key, or None. Raises Unavailable."""
        jetstream = self._bus.connection().jetstream
        try:
            with _explained("read"), heeded():
                async with asyncio.timeout(_ANSWER_SECONDS):
                    found = await jetstream.get_last_msg(self._stream, f"{self._prefix}.{key}")
        except nats.js.errors.NotFoundError:
            return None
        except nats.js.errors.APIError as error:
            raise disconnected(str(error)) from None
        return Entry(found.data or b"", found.seq or 0)

    async def put(self, key: str, value: bytes) -> int:
        """Set a key and return the value's revision. Raises Unavailable; the value may be set even so."""
        try:
            return await self._publish(key, value, {})
        except nats.js.errors.APIError as error:
            raise disconnected(str(error)) from None

    async def swap(self, key: str, value: bytes, *, revision: int) -> int | None:
        """Set a key if its revision is still this one, 0 for a key that is not there; None if it is another.

        Raises Unavailable; the value may be set even so.
        """
        try:
            return await self._publish(key, value, {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)})
        except nats.js.errors.APIError as error:
            if error.err_code in _WRONG_REVISION:
                return None
            raise disconnected(str(error)) from None

    async def _publish(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        jetstream = self._bus.connection().jetstream
        with _explained("write"), heeded():
            answer = await jetstream.publish(
                f"{self._prefix}.{key}", value, timeout=_ANSWER_SECONDS, stream=self._stream, headers=headers or None
            )
        return answer.seq

    async def watch(self, keys: str, handler: Handler) -> Subscription:
        """Have `handler` awaited for what is put from now on, as it is put; `keys` may end in a wildcard."""
        return await self._bus.subscribe(f"{self._prefix}.{keys}", handler)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn trouble on the way into Unavailable; what the servers answer is raised as it is."""
    try:
        yield
    except nats.js.errors.APIError:
        raise
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(
            f"the message broker does not {what} ({str(error) or 'no answer in time'}): check that most of its "
            "servers run",
            reason="BUS_NO_ANSWER",
        ) from None
