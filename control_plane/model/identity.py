"""People, hosts and what they may do."""

from dataclasses import dataclass
from enum import Enum
from typing import NewType, Self

from control_plane.errors import InvalidArgument
from control_plane.model.ids import NodeId, UserId

CertificateSerial = NewType("CertificateSerial", str)
"""Serial number of a certificate as lower-case hex without leading zeros; up to 160 bits."""


class Role(Enum):
    """What a person may do; each role may do all that the ones above it in this list may do."""

    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, required: "Role") -> bool:
        """Return whether this role is `required` or more."""
        return _RANK[self] >= _RANK[required]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the role of this name.

        Raises:
            InvalidArgument: ROLE_UNKNOWN; there is no such role.
        """
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(role.value for role in cls)
            raise InvalidArgument(f"{text[:40]!a} is not a role; use one of {known}", reason="ROLE_UNKNOWN") from None


_RANK = {role: rank for rank, role in enumerate(Role)}


class CredentialKind(Enum):
    """How a person proved who they are."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind, not a password
    ACCESS_TOKEN = "access_token"  # noqa: S105 - the name of a kind, not a token
    API_KEY = "api_key"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Principal:
    """A person who has been authenticated. `credential_id` is the token's jti or the API key's id.

    `for_agent` says that the credential was made for an agent that acts for the person: it never decides.
    """

    user_id: UserId
    email: str
    role: Role
    credential: CredentialKind
    credential_id: str
    for_agent: bool = False


@dataclass(frozen=True, slots=True)
class NodePrincipal:
    """A host that has been authenticated by its client certificate."""

    node_id: NodeId
    serial: CertificateSerial
