"""The node's identity on disk: who it is, its key, its certificate, whom it trusts and whom it calls.

<state>/identity/pending.key          the key of a join or renewal under way
<state>/identity/current -> <name>    one rename switches everything at once
<state>/identity/<name>/node.json     node id, name, link servers, life of the certificate
<state>/identity/<name>/key.pem       0600; made here, never leaves the host
<state>/identity/<name>/certificate.pem
<state>/identity/<name>/ca.pem
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from node_agent.errors import NotJoined, StateUnusable
from node_agent.files import make_directory, sync_directory, write_atomically
from node_agent.link.certificate import CertificateFacts


@dataclass(frozen=True, slots=True)
class Identity:
    """One generation of a node's identity; of its files only the link servers change."""

    node_name: str
    link_servers: tuple[str, ...]
    """Addresses of the daemons' port, `host:port`, in order of preference."""
    certificate: CertificateFacts
    directory: Path

    @property
    def node_id(self) -> str:
        """The node's id, as the certificate says."""
        return self.certificate.node_id

    @property
    def key_file(self) -> Path:
        """The private key, PEM."""
        return self.directory / "key.pem"

    @property
    def certificate_file(self) -> Path:
        """The certificate and its chain, PEM."""
        return self.directory / "certificate.pem"

    @property
    def ca_file(self) -> Path:
        """The authorities to trust, PEM."""
        return self.directory / "ca.pem"


class IdentityStore:
    """Reads and switches the identity."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "identity"
        self._current = self._root / "current"

    @property
    def pending_key_file(self) -> Path:
        """The key of a join or renewal under way; kept between attempts so that a retry can be recognised."""
        return self._root / "pending.key"

    def prepare(self) -> None:
        """Make the directory; raises StateUnusable if that cannot be done."""
        try:
            make_directory(self._root)
        except OSError as error:
            raise _unusable(self._root, error) from error

    def is_joined(self) -> bool:
        """Tell whether the host has an identity."""
        return self._current.exists()

    def load(self) -> Identity:
        """Return the identity; raises NotJoined or StateUnusable."""
        if not self.is_joined():
            raise NotJoined(
                f"This host has not joined a fleet ({self._root} holds no identity). "
                "Run `orquanta-node join --server HOST:PORT --token TOKEN` first."
            )
        directory = self._root / self._current.readlink()
        try:
            value = json.loads((directory / "node.json").read_text())
            return Identity(
                node_name=str(value["node_name"]),
                link_servers=tuple(str(server) for server in value["link_servers"]),
                certificate=CertificateFacts.from_json(value["certificate"]),
                directory=directory,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateUnusable(
                f"The identity in {directory} cannot be read ({error}). Restore it, or join again with --force."
            ) from error

    def save(
        self,
        *,
        node_name: str,
        link_servers: tuple[str, ...],
        facts: CertificateFacts,
        certificate_pem: bytes,
        ca_pem: bytes,
    ) -> Identity:
        """Make the pending key and its certificate the identity, in one step.

        Raises StateUnusable and leaves the old identity, and the pending key, as they were.
        """
        directory = self._root / facts.serial
        identity = Identity(node_name, link_servers, facts, directory)
        try:
            shutil.rmtree(directory, ignore_errors=True)
            make_directory(directory)
            write_atomically(directory / "key.pem", self.pending_key_file.read_bytes())
            write_atomically(directory / "certificate.pem", certificate_pem)
            write_atomically(directory / "ca.pem", ca_pem)
            write_atomically(directory / "node.json", _document(identity).encode())
            self._switch(directory)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise _unusable(self._root, error) from error
        self._clean(directory)
        return identity

    def remember_servers(self, identity: Identity) -> None:
        """Write down the identity's link servers. Raises StateUnusable, and leaves those of before."""
        try:
            write_atomically(identity.directory / "node.json", _document(identity).encode())
        except OSError as error:
            raise _unusable(self._root, error) from error

    def _switch(self, directory: Path) -> None:
        link = self._root / ".current"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
        os.replace(link, self._current)  # noqa: PTH105 - one rename(2) switches key and certificate together
        sync_directory(self._root)

    def _clean(self, keep: Path) -> None:
        self.pending_key_file.unlink(missing_ok=True)
        for directory in self._root.iterdir():
            if directory.is_dir() and not directory.is_symlink() and directory != keep:
                shutil.rmtree(directory, ignore_errors=True)


def _document(identity: Identity) -> str:
    node = {
        "node_name": identity.node_name,
        "link_servers": list(identity.link_servers),
        "certificate": identity.certificate.to_json(),
    }
    return json.dumps(node, indent=2)


def _unusable(path: Path, error: OSError) -> StateUnusable:
    return StateUnusable(
        f"{path} cannot be written: {error.strerror or error}. Free some space or fix the permissions, "
        "then run the same command again; nothing was changed."
    )
