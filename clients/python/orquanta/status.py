"""From a failed gRPC call to an exception of `orquanta.errors`."""

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from orquanta.errors import CLASS_BY_CODE, OrQuantaError, ServerFailure, UntrustedServer

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "orquanta"

# gRPC reports a failed TLS handshake as UNAVAILABLE with these words and nothing more exact. They only
# choose between two kinds of "cannot be reached", so that a wrong CA is not retried as an outage.
_HANDSHAKE_WORDS = ("SSL_ERROR_SSL", "Hostname Verification Check failed", "is not in peer certificate")


def error_from_rpc(failure: grpc.aio.AioRpcError, server: str) -> OrQuantaError:
    """The exception for a failed call to `server` (`host:port`).

    What OrQuanta itself says passes unchanged. A failure that never came from OrQuanta (no connection, no
    answer, a proxy) gets the address and the class's advice added.
    """
    kind = CLASS_BY_CODE.get(failure.code().name, ServerFailure)
    message = failure.details() or failure.code().name
    reason = ""
    metadata: dict[str, str] = {}
    retry_after_seconds: float | None = None
    for detail in _details(failure):
        info, retry = ErrorInfo(), RetryInfo()
        if detail.Unpack(info) and info.domain == _DOMAIN:
            reason = str(info.reason)
            metadata = {str(key): str(value) for key, value in info.metadata.items()}
        elif detail.Unpack(retry):
            retry_after_seconds = float(retry.retry_delay.ToTimedelta().total_seconds())
    if not reason:
        if any(words in message for words in _HANDSHAKE_WORDS):
            kind = UntrustedServer
        message = f"{server}: {message.rstrip('.')}. {kind.advice}".rstrip()
    return kind(message, reason=reason, metadata=metadata, retry_after_seconds=retry_after_seconds)


def _details(failure: grpc.aio.AioRpcError) -> list[Status]:
    for key, value in failure.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return list(Status.FromString(value).details)
            except DecodeError:  # not ours; the code and the message still hold
                return []
    return []
