"""The promise of the whole: whatever is killed or cut, every job ends exactly once and nothing is leaked."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.errors import OrQuantaError
from orquanta.gameday.fleet import Fleet, Host, wait_until
from orquanta.gameday.program import kill
from orquanta.types.jobs import Job, JobSpec, JobState, ResourceRequest
from tests.e2e.cut import CuttableLink

SEED = 7
JOBS = 50
FAILING = 5
FAULTS = 14
SETTINGS = {
    "heartbeat_seconds": "0.5",
    "lease_seconds": "2",
    "fence_seconds": "3",
    "fence_margin_seconds": "3",  # so late may a host be with what it must have stopped
    "default_stop_grace_seconds": "1",
    "default_max_attempts": "20",
    "approval_above_usd": "1000000",
}

# Each member locks a file of its attempt and one for each of its GPUs. Whoever finds the lock of another attempt of its
# job, or of a GPU of its own, held at the same time leaves a witness.
PROGRAM = """
cd {witness} || exit 97
exec 9> job-$ORQUANTA_JOB_ID-$ORQUANTA_EPOCH-$NODE_RANK.lock
flock -n 9 || echo "$ORQUANTA_JOB_ID" >> double-run
for other in job-$ORQUANTA_JOB_ID-*.lock; do
  case $other in job-$ORQUANTA_JOB_ID-$ORQUANTA_EPOCH-*) continue ;; esac
  flock -n -s "$other" true || echo "$ORQUANTA_JOB_ID" >> double-run
done
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do
  exec 8> gpu-$gpu.lock; flock -n 8 || echo "$gpu" >> double-booked
done
echo "$ORQUANTA_EPOCH" >> started-$ORQUANTA_JOB_ID
sleep {seconds}
echo "$ORQUANTA_EPOCH" >> finished-$ORQUANTA_JOB_ID
exit {code}
"""


class Chaos:
    """Breaks one thing after another, by a fixed seed, while jobs run."""

    def __init__(self, fleet: Fleet, hosts: list[Host], links: list[CuttableLink], dice: random.Random) -> None:
        self._fleet = fleet
        self._hosts = hosts
        self._links = links
        self._dice = dice
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        faults = [self._control_plane, self._broker, self._daemon, self._supervisor, self._cut, self._long_cut]
        order = [faults[number % len(faults)] for number in range(FAULTS)]
        self._dice.shuffle(order)
        for fault in order:
            await asyncio.sleep(self._dice.uniform(0.2, 1.5))
            self.done[fault.__name__] += 1
            await fault()

    async def _control_plane(self) -> None:
        self._fleet.control_plane.kill()
        await asyncio.sleep(self._dice.uniform(0, 1))
        await self._fleet.start_control_plane()

    async def _broker(self) -> None:
        if broker := self._fleet.broker_pid:
            kill(broker)

    async def _daemon(self) -> None:
        host = self._dice.choice(self._hosts)
        host.daemon.kill()
        await asyncio.sleep(self._dice.uniform(0, 1))
        host.daemon.start()

    async def _supervisor(self) -> None:
        for host in self._dice.sample(self._hosts, len(self._hosts)):
            for pid in host.supervisors():
                kill(pid)  # it may have ended by itself meanwhile
                return

    async def _cut(self) -> None:
        link = self._dice.choice(self._links)
        link.cut()
        await asyncio.sleep(self._dice.uniform(0.5, 1.5))
        link.mend()

    async def _long_cut(self) -> None:
        """Longer than lease, fence, grace and margin: the host must have stopped its jobs before they run elsewhere."""
        link = self._dice.choice(self._links)
        link.cut()
        await asyncio.sleep(10)
        link.mend()


@asynccontextmanager
async def broken_fleet(directory: Path) -> AsyncIterator[tuple[Fleet, AsyncClient, list[Host], list[CuttableLink]]]:
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(Fleet(SETTINGS, directory=directory))
        admin = await fleet.client()
        hosts, links = [], []
        for name in ("alpha", "beta", "gamma"):
            link = await stack.enter_async_context(CuttableLink(fleet.nodes_server))
            host = await fleet.add_host(admin, name, "4xH100")
            await host.daemon.stop()
            host.dial(link.address)
            host.daemon.start()
            hosts.append(host)
            links.append(link)
        yield fleet, admin, hosts, links


async def submit(client: AsyncClient, witness: Path, dice: random.Random) -> list[str]:
    """Submit the jobs while faults go on; only what was acknowledged is returned."""
    acknowledged = []
    for number in range(JOBS):
        program = PROGRAM.format(
            witness=witness, seconds=f"{dice.uniform(0.2, 2.5):.2f}", code=3 if number < FAILING else 0
        )
        gpus = dice.choice([1, 1, 1, 2, 4])
        spec = JobSpec(
            name=f"job-{number}",
            resources=ResourceRequest(gpu_types=("H100",), gpu_count=gpus),
            command=program,
            max_runtime_seconds=600,
        )
        submission = await patiently(client, spec, f"chaos-{number}")
        acknowledged.append(submission)
        await asyncio.sleep(dice.uniform(0, 0.4))
    return acknowledged


async def patiently(client: AsyncClient, spec: JobSpec, request_id: str) -> str:
    """Submit with one request id until it is acknowledged: a retry must never make a second job."""
    while True:
        try:
            return (await client.jobs.submit(spec, request_id=request_id)).job.id
        except OrQuantaError:
            await asyncio.sleep(0.2)


async def ended(client: AsyncClient, job_id: str) -> Job:
    while True:
        try:
            job = await client.jobs.get(job_id)
        except OrQuantaError:
            await asyncio.sleep(0.2)
            continue
        if job.state.ended:
            return job
        await asyncio.sleep(0.3)


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(300)
async def test_every_job_ends_exactly_once_whatever_is_killed_or_cut(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    witness = tmp_path / "witness"
    witness.mkdir()
    async with broken_fleet(tmp_path / "fleet") as (fleet, admin, hosts, links):
        chaos = Chaos(fleet, hosts, links, dice)
        async with asyncio.TaskGroup() as tasks:
            breaking = tasks.create_task(chaos.run())
            submitting = tasks.create_task(submit(admin, witness, random.Random(SEED + 1)))
        acknowledged = submitting.result()
        assert breaking.done()
        async with asyncio.timeout(180):
            jobs = [await ended(admin, job_id) for job_id in acknowledged]

        assert len(set(acknowledged)) == JOBS
        assert not (witness / "double-run").exists(), "a job ran twice at the same time"
        assert not (witness / "double-booked").exists(), "a GPU served two jobs at the same time"
        for number, job in enumerate(jobs):
            expected = JobState.FAILED if number < FAILING else JobState.SUCCEEDED
            assert job.state is expected, f"{job.spec.name} {job.state.value}: {job.status_reason}"
            finished = (witness / f"finished-{job.id}").read_text().split()
            assert str(job.epoch) in finished, "a job that ended in the books never finished on a host"
        records = [record async for record in admin.audit.list()]
        outcomes = Counter(
            one.job_id for one in records if one.action in {"job.succeeded", "job.failed", "job.cancelled"}
        )
        assert outcomes == Counter(acknowledged), "each job has exactly one outcome in the audit"

        user = await admin.auth.who_am_i()
        assert user.reserved_usd == 0
        assert user.spent_usd == sum((job.cost_usd for job in jobs), Decimal(0))
        metrics = await admin.metrics.fleet()
        assert sum(kind.allocated for kind in metrics.gpu_types) == 0, "a GPU is leaked"
        # A supervisor ends a moment after it has reported; the daemon may be checking a policy in a child.
        await wait_until(lambda: not any(host.processes() for host in hosts), "no process of a job is left")
