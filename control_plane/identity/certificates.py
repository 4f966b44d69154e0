"""What a certificate says: the node it names, its serial, its life."""

import functools
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography import x509

from control_plane.errors import InvalidArgument, Unauthenticated
from control_plane.model.identity import CertificateSerial, NodePrincipal
from control_plane.model.ids import NODE, NodeId, parse_id

NODE_URI_PREFIX: Final = "orquanta://node/"

_PRINCIPALS_CACHED: Final = 16_384  # one per connected host; about 1 KB each
_MAX_PEM_BYTES: Final = 65_536


def node_uri(node_id: NodeId) -> str:
    """Return the URI that a node's certificate carries as its subject alternative name."""
    return f"{NODE_URI_PREFIX}{node_id}"


def node_id_from_san(uris: Iterable[str]) -> NodeId:
    """Return the node that the subject alternative names of a verified certificate name.

    Entries that are not `orquanta://` URIs (host names, addresses) are passed over.

    Raises:
        Unauthenticated: NODE_CERTIFICATE_INVALID; there is not exactly one node, or its id is malformed.
    """
    ours = [uri for uri in uris if uri.lower().startswith("orquanta:")]
    if len(ours) != 1 or not ours[0].startswith(NODE_URI_PREFIX):
        raise _invalid(f"it carries {len(ours)} names of the form {NODE_URI_PREFIX}<node id> instead of one")
    try:
        return parse_id(NODE, ours[0].removeprefix(NODE_URI_PREFIX))
    except InvalidArgument as error:
        raise _invalid(f"the node id in it is malformed ({error.message})") from None


def node_principal_from_pem(pem: bytes | str) -> NodePrincipal:
    """Return the node that a client certificate names.

    The certificate's chain and dates must have been verified already, by the TLS layer. Answers are cached by
    the certificate's text, so asking again costs about a microsecond.

    Raises:
        Unauthenticated: NODE_CERTIFICATE_INVALID.
    """
    return _principal(pem.encode(errors="replace") if isinstance(pem, str) else pem)


@functools.lru_cache(maxsize=_PRINCIPALS_CACHED)
def _principal(pem: bytes) -> NodePrincipal:
    if len(pem) > _MAX_PEM_BYTES:
        raise _invalid(f"it is larger than {_MAX_PEM_BYTES} bytes")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    except (ValueError, x509.DuplicateExtension) as error:
        raise _invalid(f"it cannot be read ({error})") from None
    return NodePrincipal(node_id=node_id_from_san(uris), serial=serial_text(certificate.serial_number))


def serial_text(serial_number: int) -> CertificateSerial:
    """Return a certificate's serial number in the form that is stored and compared."""
    return CertificateSerial(f"{serial_number:x}")


def fingerprint_sha256(der: bytes) -> str:
    """Return the SHA-256 of a DER certificate as lower-case hex with a colon between bytes."""
    return hashlib.sha256(der).digest().hex(":")


def needs_renewal(certificate_pem: bytes, now: datetime) -> bool:
    """Return whether less than a third of the certificate's life is left.

    Raises:
        ValueError: it is not a PEM certificate.
    """
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < life / 3


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the client certificate is not one of a node: {why}; join the node again with a fresh join token",
        reason="NODE_CERTIFICATE_INVALID",
    )
