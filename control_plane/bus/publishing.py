"""Publishing to streams on one connection: many messages may be on their way before JetStream's word on the first."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import Header

from control_plane.bus.messages import Outgoing, Published, Receipt
from control_plane.bus.wire import WireClient
from control_plane.errors import InvalidArgument, OrQuantaError, ResourceExhausted, Unavailable

AT_ONCE_MAX: Final = 64
"""Messages that are sent together before the first is acknowledged: some milliseconds of work."""

ACK_SECONDS: Final = 5.0
"""How long JetStream's word is waited for."""

_UNACKNOWLEDGED_MAX: Final = 4096  # publishes in flight, each of at most `AT_ONCE_MAX` messages; more wait
_STORAGE_ERRORS: Final = {10023, 10028, 10047, 10077}  # JetStream: resources, storage, stream bytes exceeded
_TOO_LARGE_ERROR: Final = 10054


class Publisher:
    """Publishes, and matches answers with what they are about, by the last token of one inbox for all of them."""

    def __init__(self, client: WireClient, closed: asyncio.Event) -> None:
        self._client = client
        self._closed = closed
        self._numbers = itertools.count()
        self._inbox = ""
        self._waiting: dict[str, tuple[_Answers, int]] = {}
        self._slots = asyncio.Semaphore(_UNACKNOWLEDGED_MAX)

    async def start(self) -> None:
        """Begin to listen for answers."""
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    def end(self) -> None:
        """Answer all who wait: the connection is over."""
        for answers, _ in self._waiting.values():
            answers.end()

    async def publish_event(self, message: Outgoing) -> Receipt:
        """Publish to JetStream and wait for its word. Raises as `Bus.publish_event`."""
        receipts, failure = await self._publish((message,))
        if failure is not None:
            raise failure
        return receipts[0]

    async def publish_events(self, messages: Sequence[Outgoing]) -> Published:
        """Publish to JetStream in this order, at most `AT_ONCE_MAX`, and wait for its word on all of them."""
        receipts, failure = await self._publish(messages)
        return Published(len(receipts), failure)

    async def _publish(self, messages: Sequence[Outgoing]) -> tuple[list[Receipt], OrQuantaError | None]:
        """Return the receipts of the first messages, up to one that is not stored, and why that is not."""
        if len(messages) > AT_ONCE_MAX:
            raise ValueError(f"{len(messages)} messages at once; send at most {AT_ONCE_MAX}")
        async with self._slots:
            answers = _Answers()
            tokens = [str(next(self._numbers)) for _ in messages]
            try:
                refused = await self._send(messages, tokens, answers)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ACK_SECONDS):
                        await answers.complete()
            finally:
                for token in tokens:
                    self._waiting.pop(token, None)
        receipts: list[Receipt] = []
        for message, answer in zip(messages, answers.messages, strict=False):
            try:
                receipts.append(self._receipt(message, answer))
            except OrQuantaError as error:
                return receipts, error
        return receipts, refused

    async def _send(
        self, messages: Sequence[Outgoing], tokens: Sequence[str], answers: "_Answers"
    ) -> OrQuantaError | None:
        """Send messages, up to one that cannot be sent; return why that cannot."""
        for message, token in zip(messages, tokens, strict=True):
            if self._closed.is_set():
                return disconnected()
            self._waiting[token] = answers, answers.expect()
            sent = {**message.headers, Header.MSG_ID.value: message.message_id}
            try:
                await self._client.publish(message.subject, message.data, reply=f"{self._inbox}.{token}", headers=sent)
            except nats.errors.MaxPayloadError:
                answers.forget_last()
                return too_large(len(message.data))
            except nats.errors.Error as error:
                answers.forget_last()
                return disconnected(str(error))
        return None

    def _receipt(self, message: Outgoing, answer: Msg | None) -> Receipt:
        if answer is not None:
            return _receipt(answer, size_bytes=len(message.data))
        if self._closed.is_set():
            raise disconnected()
        raise Unavailable(
            f"JetStream has not confirmed a message within {ACK_SECONDS:g} seconds: publish it again under the same "
            "id, and see that its disk has space",
            reason="BUS_NO_CONFIRMATION",
        )

    async def _on_answer(self, message: Msg) -> None:
        waiting = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if waiting is not None:
            answers, index = waiting
            answers.take(index, message)


class _Answers:
    """What JetStream says to messages that were sent together; None for those to which it has said nothing."""

    def __init__(self) -> None:
        self.messages: list[Msg | None] = []
        self._missing = 0
        self._all_expected = False
        self._ended = asyncio.Event()

    def expect(self) -> int:
        """Expect one more answer; return its index."""
        self.messages.append(None)
        self._missing += 1
        return len(self.messages) - 1

    def forget_last(self) -> None:
        """Expect no answer to the message that was expected last."""
        self.messages.pop()
        self._missing -= 1

    def take(self, index: int, message: Msg) -> None:
        """Take an answer."""
        self.messages[index] = message
        self._missing -= 1
        self._end_if_complete()

    def end(self) -> None:
        """No more answers come."""
        self._ended.set()

    async def complete(self) -> None:
        """Return when all answers are there, or no more come."""
        self._all_expected = True
        self._end_if_complete()
        await self._ended.wait()

    def _end_if_complete(self) -> None:
        if self._all_expected and not self._missing:
            self._ended.set()


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
