import ssl
from pathlib import Path


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A whole TLS handshake in memory. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
        if not ends:
            return
    raise AssertionError("the handshake does not end")


def server_context(pair_pem: bytes, trust_pem: bytes, directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (directory / "server.pem").write_bytes(pair_pem)
    context.load_cert_chain(directory / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=trust_pem.decode())
    return context


def client_context(pair_pem: bytes, trust_pem: bytes, directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trust_pem.decode())
    (directory / "client.pem").write_bytes(pair_pem)
    context.load_cert_chain(directory / "client.pem")
    return context
