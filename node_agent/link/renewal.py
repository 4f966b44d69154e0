"""Certificate renewal: the parent's side of keys.py, which runs in a child for the sake of memory."""

import asyncio
import json
import sys
from pathlib import Path

from node_agent.link.certificate import CertificateFacts, CertificateRejected
from node_agent.link.identity import Identity, IdentityStore

_CHILD_SECONDS = 30.0
_CHILD = ("-I", "-m", "node_agent.link.keys")


async def make_request(store: IdentityStore) -> bytes:
    """Return a certificate signing request for a fresh key; raises CertificateRejected with the reason."""
    return await _run("request", store.pending_key_file)


async def accept(store: IdentityStore, identity: Identity, chain_pem: bytes) -> Identity:
    """Check a certificate from the control plane and switch to it.

    Raises CertificateRejected or StateUnusable; the old identity then stays in use.
    """
    output = await _run("inspect", store.pending_key_file, identity.ca_file, stdin=chain_pem)
    facts = CertificateFacts.from_json(json.loads(output))
    if facts.node_id != identity.node_id:
        raise CertificateRejected(f"the control plane sent a certificate for another node, {facts.node_id!r}")
    return store.save(
        node_name=identity.node_name,
        link_servers=identity.link_servers,
        facts=facts,
        certificate_pem=chain_pem,
        ca_pem=identity.ca_file.read_bytes(),
    )


async def _run(command: str, *files: Path, stdin: bytes = b"") -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *_CHILD,
        command,
        *map(str, files),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).anchor,
    )
    try:
        async with asyncio.timeout(_CHILD_SECONDS):
            output, error = await child.communicate(stdin)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise CertificateRejected(error.decode(errors="replace").strip() or "the child gave no reason")
    return output
