"""How an error looks on the wire: google.rpc.Status with details that programs can read."""

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from control_plane.errors import Code, InvalidArgument, OrQuantaError
from control_plane.services.validate.fields import InvalidRequest

DOMAIN: Final = "orquanta"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_AFTER_SECONDS: Final = "retry_after_seconds"
"""Metadata of a domain error that says when to try again; becomes google.rpc.RetryInfo."""

# Trailing metadata has to stay below gRPC's 8 KiB, and the message goes there twice.
_MESSAGE_CHARACTERS_MAX: Final = 1_000
_METADATA_ENTRIES_MAX: Final = 16
_METADATA_CHARACTERS_MAX: Final = 200
_VIOLATIONS_MAX: Final = 8
_VIOLATION_CHARACTERS_MAX: Final = 240

_RETRY_SECONDS: Final = {Code.UNAVAILABLE: 1.0, Code.ABORTED: 0.05}

_STATUS_CODES: Final = {code: grpc.StatusCode[code.name] for code in Code}


def status_code(error: OrQuantaError) -> grpc.StatusCode:
    """Return gRPC's code of a domain error."""
    return _STATUS_CODES[error.code]


def status_message(error: OrQuantaError) -> str:
    """Return the message of a domain error, cut to what fits into a trailer."""
    return _cut(error.message, _MESSAGE_CHARACTERS_MAX)


def status_details(error: OrQuantaError) -> bytes:
    """Return the serialized google.rpc.Status of a domain error: ErrorInfo first, then what else fits it."""
    status = status_pb2.Status(code=status_code(error).value[0], message=status_message(error))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for key, value in list(error.metadata.items())[:_METADATA_ENTRIES_MAX]:
        info.metadata[_cut(key, _METADATA_CHARACTERS_MAX)] = _cut(value, _METADATA_CHARACTERS_MAX)
    _add(status, info)
    if isinstance(error, InvalidRequest):
        _add(status, _bad_request(error))
    elif isinstance(error, InvalidArgument) and "field" in error.metadata:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.metadata["field"], description=_cut(error.message, _VIOLATION_CHARACTERS_MAX)
        )
        _add(status, error_details_pb2.BadRequest(field_violations=[violation]))
    retry_seconds = _retry_seconds(error)
    if retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(retry_seconds * 1_000_000_000))
        _add(status, retry)
    serialized: bytes = status.SerializeToString()
    return serialized


def failure_details(
    code: grpc.StatusCode, message: str, reason: str, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the serialized google.rpc.Status of a failure that is no domain error."""
    status = status_pb2.Status(code=code.value[0], message=message)
    _add(status, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    serialized: bytes = status.SerializeToString()
    return serialized


def _bad_request(error: InvalidRequest) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(violation.field, _METADATA_CHARACTERS_MAX),
                description=_cut(violation.description, _VIOLATION_CHARACTERS_MAX),
                reason=violation.reason,
            )
            for violation in error.violations[:_VIOLATIONS_MAX]
        ]
    )


def _retry_seconds(error: OrQuantaError) -> float | None:
    text = error.metadata.get(RETRY_AFTER_SECONDS)
    return float(text) if text else _RETRY_SECONDS.get(error.code)


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
