"""What a failed call says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio


@dataclass(frozen=True)
class Refusal:
    """What a failed call says."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    retry_seconds: float | None


def refusal_of(error: aio.AioRpcError) -> Refusal:
    """Read the details of a failed call."""
    info = error_details_pb2.ErrorInfo()
    fields: tuple[str, ...] = ()
    retry_seconds: float | None = None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            assert status.code == error.code().value[0]
            for detail in status.details:
                bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
                if detail.Unpack(bad):
                    fields = tuple(violation.field for violation in bad.field_violations)
                elif detail.Unpack(retry):
                    retry_seconds = retry.retry_delay.ToNanoseconds() / 1e9
                else:
                    assert detail.Unpack(info)
                    assert info.domain == "orquanta"
    return Refusal(error.code(), error.details() or "", info.reason, dict(info.metadata), fields, retry_seconds)


async def refused(call: Any) -> Refusal:  # Any: a call of any method
    """Await a call that must fail and return what it says."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError("the call was expected to fail")
