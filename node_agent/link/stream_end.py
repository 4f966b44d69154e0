"""Why a stream is over."""

import random

import grpc

from orquanta.v1 import node_link_pb2

_LONGEST_RETRY_AFTER_SECONDS = 600.0
_SPREAD = 0.2
_CHANCE = random.Random()  # noqa: S311 - spreads load, hides nothing

Call = grpc.aio.StreamStreamCall[node_link_pb2.ConnectRequest, node_link_pb2.ConnectResponse]


class StreamEnd(Exception):
    """The stream is over; `reason` says why, `code` how the peer ended it if it did, `is_word` if it said so itself."""

    def __init__(
        self,
        reason: str,
        *,
        code: grpc.StatusCode | None = None,
        permanent: bool = False,
        retry_after_seconds: float = 0.0,
        is_word: bool = False,
    ) -> None:
        super().__init__(reason)
        self.is_word = is_word
        self.reason = reason
        self.code = code
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_put_off(self) -> bool:
        """Whether the control plane has asked the host to come back after a while."""
        return self.is_word and not self.permanent and self.retry_after_seconds > 0


async def status_of(call: Call) -> StreamEnd:
    """Return why the peer ended the stream."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return StreamEnd("the control plane closed the stream")
    return StreamEnd(f"{code.name}: {await call.details()}", code=code)


def end_of(error: grpc.aio.AioRpcError) -> StreamEnd:
    """Return the end that a call's error stands for."""
    return StreamEnd(f"{error.code().name}: {error.details()}", code=error.code())


def disconnected(message: node_link_pb2.Disconnect, chance: random.Random | None = None) -> StreamEnd:
    """Return the end that the control plane has told; a little of the pause is left to chance.

    A control plane that stops tells all of its hosts the same, and they must not come back in step.
    """
    spread = (chance or _CHANCE).uniform(1.0, 1.0 + _SPREAD)
    seconds = max(0.0, message.retry_after.ToTimedelta().total_seconds())
    return StreamEnd(
        message.reason or "the control plane gave no reason",
        is_word=True,
        permanent=message.permanent,
        retry_after_seconds=min(_LONGEST_RETRY_AFTER_SECONDS, seconds * spread),
    )


def first_end(failures: BaseExceptionGroup[BaseException]) -> StreamEnd:
    """Return why the stream ended; raises the group again if something else went wrong."""
    for failure in failures.exceptions:
        if isinstance(failure, grpc.aio.AioRpcError):
            return end_of(failure)
        if not isinstance(failure, StreamEnd):
            raise failures
    first = failures.exceptions[0]
    return first if isinstance(first, StreamEnd) else StreamEnd(str(first))
