"""Private keys, certificate signing requests and certificates: the only user of `cryptography` on a host.

It runs in a short-lived child (`python -m node_agent.link.keys`), because the library costs the daemon 8 MB for
something it does once in days. The parent's side is in renewal.py.

    request KEY_FILE        make the key if there is none; print a PKCS #10 request in PEM
    inspect KEY_FILE CA     read a certificate chain (PEM) from stdin; print what it says as JSON
"""

import itertools
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from node_agent.files import write_atomically
from node_agent.link.certificate import CertificateFacts, CertificateRejected

_NODE_URI = "orquanta://node/"


def make_request(key_file: Path) -> bytes:
    """Return a certificate signing request for the key in `key_file`, which is made (0600) if missing.

    A key that is there is used again, so that the control plane can tell a retry from a replay.
    """
    if key_file.exists():
        key = _load_key(key_file)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(key_file, pem)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "orquanta-node")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def inspect(key_file: Path, ca_pem: bytes, chain_pem: bytes) -> CertificateFacts:
    """Check that a chain belongs to the key and to the authority, and return what its leaf says.

    Raises CertificateRejected.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
        roots = x509.load_pem_x509_certificates(ca_pem)
    except ValueError as error:
        raise CertificateRejected("the control plane sent something that is not a certificate") from error
    leaf = chain[0]
    if leaf.public_key() != _load_key(key_file).public_key():
        raise CertificateRejected("the control plane sent a certificate for another key")
    _check_chain(chain, roots)
    return CertificateFacts(
        node_id=_node_id(leaf),
        serial=f"{leaf.serial_number:x}",
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def _load_key(key_file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except ValueError as error:
        raise CertificateRejected(f"{key_file} is not a private key; remove it and join again") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRejected(f"{key_file} is not an elliptic-curve key; remove it and join again")
    return key


def _check_chain(chain: list[x509.Certificate], roots: list[x509.Certificate]) -> None:
    for child, parent in itertools.pairwise(chain):
        if not _issued_by(child, parent):
            raise CertificateRejected("the certificates in the chain were not issued by one another")
    if not any(chain[-1] == root or _issued_by(chain[-1], root) for root in roots):
        raise CertificateRejected("the certificate was not issued by this node's authority")


def _issued_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _node_id(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(_NODE_URI)]
    if len(uris) != 1:
        raise CertificateRejected("the certificate does not name a node")
    return uris[0].removeprefix(_NODE_URI)


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is 1, with the reason on stderr, if it cannot be done."""
    try:
        match arguments:
            case ["request", key_file]:
                sys.stdout.buffer.write(make_request(Path(key_file)))
            case ["inspect", key_file, ca_file]:
                facts = inspect(Path(key_file), Path(ca_file).read_bytes(), sys.stdin.buffer.read())
                sys.stdout.write(json.dumps(facts.to_json()))
            case _:
                sys.stderr.write("usage: keys request KEY_FILE | keys inspect KEY_FILE CA_FILE\n")
                return 2
    except (OSError, CertificateRejected) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
