"""Who makes the present call. The gate sets it; each call runs in a task of its own, so it never leaks.

Ask in the handler, not in a function that the store runs: those run in other threads, which do not know.
"""

from contextvars import ContextVar
from typing import Final

from control_plane.errors import PermissionDenied, Unauthenticated
from control_plane.model.identity import NodePrincipal, Principal, Role
from control_plane.model.ids import UserId
from orquanta.tracing import TraceContext

PRINCIPAL: Final[ContextVar[Principal | NodePrincipal | None]] = ContextVar("principal", default=None)

TRACE: Final[ContextVar[TraceContext | None]] = ContextVar("trace", default=None)
"""The span of the present call, if its caller is traced or this control plane is."""


def person() -> Principal:
    """Return the person who makes the present call."""
    principal = PRINCIPAL.get()
    if isinstance(principal, Principal):
        return principal
    raise Unauthenticated("this call needs a person's token or API key", reason="CREDENTIALS_MISSING")


def node() -> NodePrincipal:
    """Return the host that makes the present call."""
    principal = PRINCIPAL.get()
    if isinstance(principal, NodePrincipal):
        return principal
    raise Unauthenticated("this call needs a node's client certificate", reason="NODE_CERTIFICATE_MISSING")


def owner_or(role: Role, owner: UserId, what: str) -> Principal:
    """Return the caller if `owner` is theirs, or if they have `role`; `what` names the thing in the error."""
    caller = person()
    if caller.user_id == owner or caller.role.allows(role):
        return caller
    raise PermissionDenied(
        f"{what} belongs to somebody else: ask its owner, or somebody with the role {role.value}",
        reason="NOT_THE_OWNER",
        metadata={"required_role": role.value},
    )
