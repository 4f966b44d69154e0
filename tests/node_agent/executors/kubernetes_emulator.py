"""An emulator of the few calls of the Kubernetes API that the executor makes, written from the API's reference.

It is none: no admission, no controllers, no authorisation. Its pods are processes of this machine, so that output, exit
codes and signals are real.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = Any  # Any: documents of the API
_SECONDS = len("2026-01-01T00:00:00")


@dataclass
class Pod:
    """A pod that runs as a process, once it is `scheduled`."""

    name: str
    labels: dict[str, str]
    spec: Json
    process: subprocess.Popen[bytes] | None = None
    lines: list[tuple[str, bytes]] = field(default_factory=list)
    read_all: threading.Event = field(default_factory=threading.Event)
    override: Json = None

    def start(self) -> None:
        container = self.spec["containers"][0]
        env = {"PATH": os.environ["PATH"], **{one["name"]: one["value"] for one in container["env"]}}
        command = container.get("command", container.get("args"))
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), line))
        self.process.wait()
        self.process.stdout.close()
        self.read_all.set()

    def status(self) -> Json:
        if self.override is not None:
            return self.override
        if self.process is None:
            condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: Insufficient nvidia.com/gpu"}
            return {"phase": "Pending", "conditions": [condition]}
        code = self.process.poll()
        if code is None or not self.read_all.is_set():
            return {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        shown = code if code >= 0 else 128 - code
        state = {"terminated": {"exitCode": shown, "reason": "Error" if shown else "Completed"}}
        return {"phase": "Failed" if shown else "Succeeded", "containerStatuses": [{"state": state}]}

    def end(self, grace_seconds: float) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self._signal(signal.SIGTERM if grace_seconds else signal.SIGKILL)
        try:
            self.process.wait(grace_seconds or 10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):  # it has just ended, by itself or by another thread's hand
            os.killpg(self.process.pid, number)


class Emulator:
    """What the cluster holds.

    `hold` keeps pods from being scheduled, `no_pods` from being made; so many answers to creations are lost.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.pods: dict[str, Pod] = {}
        self.hold = False
        self.no_pods = False
        self.lose_answers = 0
        self.url = ""
        self.requests: list[str] = []
        self.lock = threading.Lock()

    def create(self, job: Json) -> bool:
        name = job["metadata"]["name"]
        with self.lock:
            if name in self.jobs:
                return False
            if self.no_pods:
                self.jobs[name] = job
                return True
            template = job["spec"]["template"]
            pod = Pod(f"{name}-x1", {**template["metadata"]["labels"], "job-name": name}, template["spec"])
            self.pods[name] = pod
            if not self.hold:
                pod.start()
            self.jobs[name] = job  # until here, what is being started holds all that this process has open
        return True

    def delete(self, name: str, grace_seconds: float) -> bool:
        with self.lock:
            found = self.jobs.pop(name, None)
            pod = self.pods.get(name)

        def end() -> None:
            if pod is not None:
                pod.end(grace_seconds)
                self.pods.pop(name, None)

        threading.Thread(target=end, daemon=True).start()
        return found is not None


NODES = [
    {
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": gpus}},
    }
    for name, cordoned, ready, gpus in (
        ("one", False, "True", "8"),
        ("cordoned", True, "True", "8"),
        ("sick", False, "Unknown", "8"),
        ("plain", False, "True", "0"),
    )
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = emulator


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    @property
    def _emulator(self) -> Emulator:
        return self.server.emulator

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, document: Json) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _asked(self) -> tuple[list[str], dict[str, str]]:
        parts = urlsplit(self.path)
        self._emulator.requests.append(f"{self.command} {parts.path}")
        return parts.path.strip("/").split("/"), {name: one[0] for name, one in parse_qs(parts.query).items()}

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._asked()
        created = self._emulator.create(job)
        if self._emulator.lose_answers > 0:
            self._emulator.lose_answers -= 1
            self.close_connection = True
        elif created:
            self._answer(201, job)
        else:
            self._answer(409, {"message": "jobs.batch already exists"})

    def do_DELETE(self) -> None:
        path, query = self._asked()
        if path[-1] == "pods":
            name = query["labelSelector"].partition("=")[2]
            pod = self._emulator.pods.pop(name, None)
            if pod is not None:
                pod.end(0)
            self._answer(200, {})
        elif self._emulator.delete(path[-1], float(query["gracePeriodSeconds"])):
            self._answer(200, {})
        else:
            self._answer(404, {"message": "jobs.batch not found"})

    def do_GET(self) -> None:
        path, query = self._asked()
        if path[-1] == "nodes":
            self._answer(200, {"items": NODES})
        elif path[-1] == "log":
            self._log(self._emulator.pods.get(path[-2].removesuffix("-x1")), query.get("sinceTime", ""))
        elif path[-1] == "jobs":
            name, _, value = query["labelSelector"].partition("=")
            known = list(self._emulator.jobs.values())  # other threads make and delete some meanwhile
            jobs = [job for job in known if job["metadata"]["labels"].get(name) == value]
            first = int(query.get("continue", "from 0").removeprefix("from "))  # a space, for it has to be escaped
            after = first + int(query["limit"])
            metadata = {"continue": f"from {after}"} if after < len(jobs) else {}
            self._answer(200, {"metadata": metadata, "items": jobs[first:after]})
        elif path[-2] == "jobs":
            found = self._emulator.jobs.get(path[-1])
            self._answer(404 if found is None else 200, found or {"message": "jobs.batch not found"})
        elif "watch" in query:
            time.sleep(0.05)
            self._stream([b'{"type":"MODIFIED"}\n'])
        else:
            pod = self._emulator.pods.get(query["labelSelector"].partition("=")[2])
            items = [] if pod is None else [{"metadata": {"name": pod.name}, "status": pod.status()}]
            self._answer(200, {"metadata": {"resourceVersion": "1"}, "items": items})

    def _log(self, pod: Pod | None, since: str) -> None:
        if pod is None:
            self._answer(404, {"message": "pod not found"})
            return
        self._stream(_lines(pod, since))

    def _stream(self, lines: Any) -> None:  # Any: an iterable of bytes
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _lines(pod: Pod, since: str) -> Iterator[bytes]:
    given = 0
    while True:
        over = pod.read_all.is_set()
        while given < len(pod.lines):
            moment, line = pod.lines[given]
            given += 1
            if moment[:_SECONDS] >= since[:_SECONDS]:  # the API server hands whole seconds on to the kubelet
                yield moment.encode() + b" " + line
        if over:
            return
        time.sleep(0.01)


@contextmanager
def emulated() -> Iterator[Emulator]:
    """Serve an emulated cluster over plain HTTP on loopback."""
    emulator = Emulator()
    server = _Server(emulator)
    emulator.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield emulator
    finally:
        server.shutdown()
        server.server_close()
        for pod in list(emulator.pods.values()):
            pod.end(0)
