"""What makes a retried change safe: the request id, and ids derived from it."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from control_plane.model.ids import Prefix, UserId, derived_id
from control_plane.services.caller import person
from control_plane.store import requests
from control_plane.store.database import Tx

_Id = TypeVar("_Id", bound=str)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One call that changes something: who, which method, the caller's id for it, and what it asks for."""

    user_id: UserId
    method: str
    request_id: str
    fingerprint: str

    def id(self, prefix: Prefix[_Id], *parts: str) -> _Id:
        """Return the id of what this call makes: the same for every retry."""
        return derived_id(prefix, self.user_id, self.method, self.request_id, *parts)

    def remembered(self, tx: Tx) -> str | None:
        """Return the id of what an earlier call made, or None. Raises AlreadyExists for another request."""
        return requests.remembered(
            tx,
            user_id=self.user_id,
            method=self.method,
            request_id=self.request_id,
            fingerprint=self.fingerprint,
        )

    def remember(self, tx: Tx, result_id: str) -> None:
        """Record what this call made, in the transaction that makes it."""
        requests.remember(
            tx,
            user_id=self.user_id,
            method=self.method,
            request_id=self.request_id,
            fingerprint=self.fingerprint,
            result_id=result_id,
        )


def mutation(method: str, request: Message, request_id: str, *, secret_field: str = "") -> Mutation:
    """Return the mutation that a request asks for; a request without an id gets one of its own.

    `secret_field` is left out of the fingerprint: a quick hash of a password must not be stored.
    """
    content = type(request)()
    content.CopyFrom(request)
    content.ClearField("request_id")
    if secret_field:
        content.ClearField(secret_field)
    return Mutation(
        user_id=person().user_id,
        method=method,
        request_id=request_id or f"server-{uuid.uuid4()}",
        fingerprint=hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest(),
    )
