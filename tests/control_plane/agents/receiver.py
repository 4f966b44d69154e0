"""A webhook on this machine that tells what it was sent."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from control_plane.agents.notice_texts import WebhookKind
from control_plane.agents.notifier import Webhook

SECRET = "T0K3N-in-the-path"


@dataclass
class Receiver:
    """A webhook on this machine. `answers` are the next statuses; then it says 200. `heard` is what it was sent."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON of any shape
    paths: list[str] = field(default_factory=list)
    location: str = ""

    def webhook(self, kind: WebhookKind = WebhookKind.JSON) -> Webhook:
        return Webhook(f"http://127.0.0.1:{self.port}/{SECRET}", kind)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.paths.append(self.path)
            receiver.heard.append(json.loads(body))
            status = receiver.answers.pop(0) if receiver.answers else 200
            self.send_response(status)
            if receiver.location:
                self.send_header("location", receiver.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Serve a port that takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in held:
            writer.close()
        server.close()
