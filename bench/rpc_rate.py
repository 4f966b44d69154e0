"""How many authenticated reads a second the people's port answers, against a bare grpc.aio ping in the same run.

Starts two real server processes, both with TLS: one with nothing but a ping handler, and one with the whole of the
people's services on SQLite, behind the gate. Loads them in turns with the same client and the same number of calls in
flight: the ping, then GetJob (of a job that has been placed, with a token of the role user), then ListJobs for
comparison. Short rounds that alternate, and the median of their ratios, keep other load on the machine out. Prints a
table and, last, one JSON object. The exit status is 1 if the target is missed.

    python -m bench.rpc_rate [--seconds 0.5] [--rounds 15] [--in-flight 32]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import grpc
from grpc import aio

from control_plane.agents.orchestrator.orchestrator import Orchestrator
from control_plane.clock import SystemClock
from control_plane.fleet.prices import PriceTable
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.credentials import Credentials
from control_plane.identity.passwords import Passwords
from control_plane.identity.tokens import AccessTokens
from control_plane.model.account import User
from control_plane.model.action import ActionState, LaunchJobs, NewJob, PlaceJob, Placement, Proposal
from control_plane.model.identity import CertificateSerial, Role
from control_plane.model.ids import ACTION, JOB, NODE, JobId, new_id, new_user_id
from control_plane.model.job import JobSpec, ResourceRequest
from control_plane.model.node import GpuInventory, HostInventory, Node, NodeState
from control_plane.services.composition import SERVER_OPTIONS, PeopleServices, ServiceDependencies
from control_plane.services.nodes import JoinDetails
from control_plane.store import nodes, users
from control_plane.store.database import Store
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from orquanta.ledger.signatures import Signer
from orquanta.v1 import job_pb2
from orquanta.v1.job_pb2_grpc import JobServiceStub

TARGET_SHARE = 0.6
PING = "/bench.Ping/Ping"


@dataclass(frozen=True)
class Address:
    """A server under load: its process and port; a token and a job to read where it has them."""

    process: subprocess.Popen[str]
    port: int
    token: str
    job_id: str


@dataclass(frozen=True)
class Sample:
    """One round: calls answered in a second, and the server's processor time for each."""

    calls_per_second: float
    server_cpu_us_per_call: float


async def serve_ping(directory: Path, pair: list[tuple[bytes, bytes]]) -> None:
    """Serve the fastest thing that grpc.aio can do: give back the bytes that came."""

    async def ping(request: bytes, _context: object) -> bytes:
        return request

    server = aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(ping)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Ping", {"Ping": handler}),))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials(pair))
    await server.start()
    print(json.dumps({"port": port, "token": "", "job_id": ""}), flush=True)
    await server.wait_for_termination()
    del directory


async def serve_people(directory: Path, pair: list[tuple[bytes, bytes]]) -> None:
    """Serve all of the people's port from the parts that the real server is made of."""
    clock = SystemClock()
    store = await Store.open(f"sqlite:///{directory / 'store.db'}", clock=clock)
    prices = PriceTable()
    defaults = JobDefaults(max_runtime_seconds=86_400, stop_grace_seconds=30, max_attempts=3)
    limits = Limits(approval_above_usd=Decimal(500), max_gpus_per_user=64)
    governor = Governor(store, limits=limits, defaults=defaults, prices=prices)
    access_tokens = AccessTokens(b"k" * 32, clock=clock)
    logs, telemetry = LogStore(directory / "logs"), TelemetryWindows(clock=clock)
    toolbox = Toolbox(store, governor, logs=logs, telemetry=telemetry, memory=None, prices=prices, clock=clock)
    services = PeopleServices(
        ServiceDependencies(
            store=store,
            governor=governor,
            planner=Orchestrator(store, governor, defaults=defaults, clock=clock),
            prices=prices,
            logs=logs,
            telemetry=telemetry,
            toolbox=toolbox,
            passwords=Passwords(),
            access_tokens=access_tokens,
            credentials=Credentials(b"d" * 32),
            join=JoinDetails(server="localhost:50051", ca_certificate_der=b""),
            clock=clock,
            audit_signer=Signer(bytes(range(32))),
        )
    )
    user = User(
        id=new_user_id(),
        email="bench@example.com",
        role=Role.USER,
        disabled=False,
        created_at=clock.now(),
        budget_usd=None,
        spent_usd=Decimal(0),
        reserved_usd=Decimal(0),
        max_gpus=None,
    )
    await store.write(lambda tx: users.insert(tx, user, "no password"))
    job_id = await place_a_job(store, governor, user, clock)
    server = aio.server(interceptors=[services.gate], options=SERVER_OPTIONS)
    services.add_to(server)
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials(pair))
    await server.start()
    token = access_tokens.issue(user.id, user.email, user.role).text
    print(json.dumps({"port": port, "token": token, "job_id": job_id}), flush=True)
    await server.wait_for_termination()


async def place_a_job(store: Store, governor: Governor, user: User, clock: SystemClock) -> JobId:
    """Put a job on eight GPUs of a node, so that what is read has an attempt in it."""
    gpus = tuple(GpuInventory(index, f"GPU-{index}", "H100", "NVIDIA H100", 80 << 30) for index in range(8))
    node = Node(
        id=new_id(NODE),
        name="host-1",
        state=NodeState.READY,
        status_reason="",
        cordoned=False,
        connected=True,
        inventory=HostInventory(hostname="host-1", boot_id="1", agent_version="1", gpus=gpus, address="127.0.0.1"),
        labels={},
        certificate_serial=CertificateSerial("01"),
        certificate_expires_at=clock.now() + timedelta(days=1),
        last_seen_at=clock.now(),
        created_at=clock.now(),
        version=1,
    )
    await store.write(lambda tx: nodes.insert(tx, node))
    job_id = new_id(JOB)
    spec = JobSpec("bench", ResourceRequest(gpu_count=8), command="true", max_runtime_seconds=3600)
    placements = (Placement(0, node.id, tuple(gpu.uuid for gpu in gpus)),)
    effects = (LaunchJobs((NewJob(job_id, spec),)), PlaceJob(job_id, 1, "H100", placements, "it is free"))
    for effect in effects:
        action = await governor.propose(
            Proposal(new_id(ACTION), effect, user.email, "bench", is_person=False, user_id=user.id, job_id=job_id)
        )
        if action.state is not ActionState.DONE:
            raise SystemExit(f"the job could not be placed: {action.outcome}")
    return job_id


def start(kind: str, directory: Path) -> Address:
    """Start a server process and read where it listens."""
    command = [sys.executable, "-m", "bench.rpc_rate", "--serve", kind, "--directory", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"the {kind} server did not start; its error is above")
    told = json.loads(line)
    return Address(process, told["port"], told["token"], told["job_id"])


def open_channel(address: Address, trust: bytes) -> aio.Channel:
    """Open a TLS channel."""
    return aio.secure_channel(f"localhost:{address.port}", grpc.ssl_channel_credentials(trust))


async def load(address: Address, call: Callable[[], Awaitable[object]], seconds: float, in_flight: int) -> Sample:
    """Keep `in_flight` calls going for `seconds`."""
    done = 0
    end = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    cpu, started = cpu_seconds(address.process.pid), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    took = time.perf_counter() - started
    return Sample(done / took, (cpu_seconds(address.process.pid) - cpu) / done * 1e6)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(directory: Path, trust: bytes, options: argparse.Namespace) -> dict[str, list[Sample]]:
    """Load both servers in turns and return the samples by kind of call."""
    bare, people = start("ping", directory), start("people", directory)
    samples: dict[str, list[Sample]] = {"ping": [], "GetJob": [], "ListJobs": []}
    try:
        async with open_channel(bare, trust) as ping_channel, open_channel(people, trust) as channel:
            jobs = JobServiceStub(channel)
            # The same header that channel credentials would add, without the thread that gRPC adds it in.
            proof = (("authorization", f"Bearer {people.token}"),)
            get, some = job_pb2.GetJobRequest(job_id=people.job_id), job_pb2.ListJobsRequest(page_size=10)
            ping: aio.UnaryUnaryMultiCallable[bytes, bytes] = ping_channel.unary_unary(PING)
            body = get.SerializeToString()
            calls: dict[str, tuple[Address, Callable[[], Awaitable[object]]]] = {
                "ping": (bare, lambda: ping(body, timeout=10)),
                "GetJob": (people, lambda: jobs.GetJob(get, timeout=10, metadata=proof)),
                "ListJobs": (people, lambda: jobs.ListJobs(some, timeout=10, metadata=proof)),
            }
            for address, call in calls.values():
                await load(address, call, min(1.0, options.seconds), options.in_flight)
            for _ in range(options.rounds):
                for name, (address, call) in calls.items():
                    samples[name].append(await load(address, call, options.seconds, options.in_flight))
    finally:
        for address in (bare, people):
            address.process.kill()
            address.process.wait()
    return samples


def report(samples: dict[str, list[Sample]], options: argparse.Namespace) -> bool:
    """Print the figures; return whether the target is met."""
    rate = {name: statistics.median(one.calls_per_second for one in found) for name, found in samples.items()}
    cpu = {name: statistics.median(one.server_cpu_us_per_call for one in found) for name, found in samples.items()}
    share = statistics.median(
        job.calls_per_second / ping.calls_per_second
        for job, ping in zip(samples["GetJob"], samples["ping"], strict=True)
    )
    for name in samples:
        print(f"{name:10} {rate[name]:8.0f} calls/s   {cpu[name]:7.0f} us of server CPU per call")
    met = share >= TARGET_SHARE
    result = {
        "name": "rpc_rate",
        "figures": {
            "ping_calls_per_second": round(rate["ping"]),
            "get_job_calls_per_second": round(rate["GetJob"]),
            "list_jobs_calls_per_second": round(rate["ListJobs"]),
            "get_job_share_of_ping": round(share, 3),
            "ping_server_cpu_us": round(cpu["ping"]),
            "get_job_server_cpu_us": round(cpu["GetJob"]),
            "list_jobs_server_cpu_us": round(cpu["ListJobs"]),
            "calls_in_flight": options.in_flight,
        },
        "targets": {"get_job_share_of_ping": {"at_least": TARGET_SHARE, "met": met}},
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
        },
    }
    print(json.dumps(result))
    return met


def main() -> None:
    """Run the measurement, or one of its servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--in-flight", type=int, default=32, help="calls in flight")
    parser.add_argument("--serve", choices=("ping", "people"), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        pair = [((options.directory / "key.pem").read_bytes(), (options.directory / "certificate.pem").read_bytes())]
        serve = serve_ping if options.serve == "ping" else serve_people
        asyncio.run(serve(options.directory, pair))
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ca = CertificateAuthority.load_or_create(directory / "ca", clock=SystemClock())
        pair_of_server = ca.issue_server(["localhost"])
        (directory / "key.pem").write_bytes(pair_of_server.key_pem)
        (directory / "certificate.pem").write_bytes(pair_of_server.certificate.certificate_pem)
        met = report(asyncio.run(measure(directory, ca.trust_pem, options)), options)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
