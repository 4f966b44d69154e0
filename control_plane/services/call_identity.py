"""Who makes a call, as its metadata and its connection tell, and whether they may."""

from typing import Any

from grpc import aio

from control_plane.errors import PermissionDenied, Unauthenticated
from control_plane.identity.certificates import node_principal_from_pem
from control_plane.model.identity import NodePrincipal, Principal, Role
from control_plane.services.access import Rule

# Any: gRPC's context is generic in the message types of each method.
Context = aio.ServicerContext[Any, Any]


def credential_of(context: Context) -> str:
    """Return the bearer credential of a call. Raises Unauthenticated."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            text = value if isinstance(value, str) else value.decode("ascii", errors="replace")
            scheme, _, credential = text.partition(" ")
            if scheme.lower() == "bearer" and credential:
                return credential.strip()
            raise Unauthenticated(
                "the authorization header must read `Bearer <token or API key>`", reason="CREDENTIALS_INVALID"
            )
    raise Unauthenticated(
        "no credentials: log in with `orquanta login`, or send `authorization: Bearer <token or API key>`",
        reason="CREDENTIALS_MISSING",
    )


def authorise(rule: Rule, principal: Principal) -> None:
    """Raises PermissionDenied if the caller may not make a call of this rule."""
    if isinstance(rule.needs, Role) and not principal.role.allows(rule.needs):
        raise PermissionDenied(
            f"this call needs the role {rule.needs.value}, and {principal.email} is {principal.role.value}; "
            "ask an administrator",
            reason="ROLE_INSUFFICIENT",
            metadata={"required_role": rule.needs.value, "role": principal.role.value},
        )
    if rule.people_only and principal.for_agent:
        raise PermissionDenied(
            "this API key was made for an agent, and only people may do this; log in as a person with `orquanta login`",
            reason="AGENT_CREDENTIAL",
        )


def node_of(context: Context) -> NodePrincipal:
    """Return the node of a call's client certificate. Raises Unauthenticated."""
    certificates = list(context.auth_context().get("x509_pem_cert", ()))
    if not certificates:
        raise Unauthenticated(
            "no client certificate: join first with `orquanta-node join`", reason="NODE_CERTIFICATE_MISSING"
        )
    return node_principal_from_pem(certificates[0])
