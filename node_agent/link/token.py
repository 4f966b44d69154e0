"""The text of a join token: `oqj_<id>_<secret>_<base64url of the CA certificate in DER>`."""

import base64
import binascii
import ssl
from dataclasses import dataclass, field

from node_agent.errors import TokenMalformed

_PREFIX = "oqj"
_PARTS = 4
_MAX_CHARACTERS = 16_384  # a CA certificate is about 1 KiB; anything far beyond is not a token


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token taken apart."""

    credential: str = field(repr=False)
    """What the control plane gets to see: `oqj_<id>_<secret>`."""
    token_id: str
    ca_certificate_pem: bytes
    """The only authority to trust while joining."""

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Take `text` apart; white space around it is ignored.

        Raises TokenMalformed, without repeating the secret.
        """
        text = text.strip()
        parts = text.split("_", _PARTS - 1)
        if len(text) > _MAX_CHARACTERS or len(parts) != _PARTS or parts[0] != _PREFIX or not all(parts):
            raise TokenMalformed(
                "This is not a join token: it should look like oqj_<id>_<secret>_<certificate>. "
                "Copy the whole line that `orquanta node token create` printed."
            )
        der = _decode(parts[3])
        return cls("_".join(parts[:3]), parts[1], ssl.DER_cert_to_PEM_cert(der).encode())


def _decode(text: str) -> bytes:
    try:
        der = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        ssl.create_default_context(cadata=der)
    except (binascii.Error, ssl.SSLError, ValueError) as error:
        raise TokenMalformed(
            "The certificate in the join token is damaged; it was probably cut while copying. "
            "Copy the whole line that `orquanta node token create` printed."
        ) from error
    return der
