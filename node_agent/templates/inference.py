"""Serves a small model over HTTP and measures the latency of requests to it."""

import json
import random
import statistics
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from node_agent.templates.model import FEATURES, Data, Model
from node_agent.templates.run import Run, parser, say

_TRAINING_STEPS = 100
_MAX_BODY_BYTES = 64 * 1024
_MAX_LATENCIES = 100_000
_REQUEST_SECONDS = 10.0
_PAUSE_SECONDS = 0.005


def main() -> int:
    """Serve, send requests, and report the latency."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    arguments.add_argument("--port", type=int, default=0, help="port to serve on; any free one if 0")
    options = arguments.parse_args()
    run = Run("inference", seconds=options.seconds, steps=options.steps)
    model, data = Model(), Data(0)
    for _ in range(_TRAINING_STEPS):
        model.descend(model.gradient(data.batch()))
    with ThreadingHTTPServer((options.host, options.port), _handler(model)) as server:
        threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
        url = f"http://{options.host}:{server.server_address[1]}/predict"
        say(f"inference: serving on {url}")
        latencies = _measure(run, url)
        server.shutdown()
    if not latencies:
        say("inference: no request was answered")
        return run.exit_code() or 1
    quantiles = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    say(
        f"inference: done, {len(latencies)} requests, P50 {quantiles[49] * 1e3:.2f} ms, "
        f"P99 {quantiles[98] * 1e3:.2f} ms"
    )
    return run.exit_code()


def _measure(run: Run, url: str) -> list[float]:
    """Send requests until the run is done; return their latencies in seconds."""
    chance = random.Random(run.place.rank)  # noqa: S311 - sample requests
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    latencies: list[float] = []
    while not run.done() and len(latencies) < _MAX_LATENCIES:
        body = json.dumps([chance.gauss(0.0, 1.0) for _ in range(FEATURES)]).encode()
        began = time.perf_counter()
        with opener.open(url, body, timeout=_REQUEST_SECONDS) as response:
            json.load(response)
        latencies.append(time.perf_counter() - began)
        run.step += 1
        if run.step in (1, 10, 100) or run.step % 500 == 0:
            say(f"inference: {run.step} requests, last took {latencies[-1] * 1e3:.2f} ms")
        time.sleep(_PAUSE_SECONDS)
    return latencies


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers POST /predict with the probability of class 1."""

        def do_POST(self) -> None:
            """Read a JSON list of features and answer with a JSON object."""
            size = int(self.headers.get("Content-Length") or 0)
            try:
                features = [float(value) for value in json.loads(self.rfile.read(min(size, _MAX_BODY_BYTES)))]
                answer = json.dumps({"probability": model.predict(features)}).encode()
            except (ValueError, TypeError) as error:
                self.send_error(400, f"send a JSON list of {FEATURES} numbers: {error}")
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Keep the job's log for the figures."""

    return Handler


if __name__ == "__main__":
    sys.exit(main())
