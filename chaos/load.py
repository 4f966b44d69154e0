"""Jobs of several people, submitted at a drawn rate and again until they are acknowledged."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

from orquanta.client import AsyncClient
from orquanta.errors import OrQuantaError
from orquanta.retry import may_retry
from orquanta.types.jobs import JobPriority, JobSpec, ResourceRequest

AT_ONCE: Final = 64
PATIENCE_SECONDS: Final = 180.0
_PAUSE_SECONDS: Final = 0.3
_REPEATED: Final = 0.15
"""Share of the requests that are sent again though they were acknowledged, as a client does that lost the answer."""


class Load:
    """`acknowledged` holds the job of each request. `clients` has, for each person, one client at each replica."""

    def __init__(self, clients: Sequence[Sequence[AsyncClient]], seed: int) -> None:
        self._clients = clients
        self._dice = random.Random(f"load/{seed}")
        self.acknowledged: dict[str, str] = {}
        self.told: list[str] = []
        """What was answered in two ways."""
        self.slowest_seconds = 0.0
        self.failures = 0

    async def run(self, jobs: int, seconds: float) -> None:
        """Submit so many jobs within about so many seconds; return once all are acknowledged."""
        slots = asyncio.Semaphore(AT_ONCE)
        moments = sorted(self._dice.uniform(0, seconds) for _ in range(jobs))
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, at in enumerate(moments):
                await asyncio.sleep(max(0.0, began + at - time.monotonic()))
                await slots.acquire()
                person = self._dice.choice(self._clients)
                first, again = self._dice.randrange(len(person)), self._dice.random() < _REPEATED
                task = group.create_task(
                    self._submit(person, first, f"chaos-{number}", self._draw(number), again=again)
                )
                task.add_done_callback(lambda _: slots.release())

    async def _submit(
        self, person: Sequence[AsyncClient], first: int, request_id: str, spec: JobSpec, *, again: bool
    ) -> None:
        began = time.monotonic()
        job_id = await self._patiently(person, first, request_id, spec)
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.acknowledged[request_id] = job_id
        if again:
            other = await self._patiently(person, first + 1, request_id, spec)
            if other != job_id:
                self.told.append(f"request {request_id} was answered with {job_id}, and then with {other}")

    async def _patiently(self, person: Sequence[AsyncClient], first: int, request_id: str, spec: JobSpec) -> str:
        turn, until = first, time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return (await person[turn % len(person)].jobs.submit(spec, request_id=request_id)).job.id
            except OrQuantaError as error:
                self.failures += 1
                if not may_retry(error):
                    self.told.append(f"request {request_id} was refused: {error.reason}: {error.message}")
                if not may_retry(error) or time.monotonic() > until:
                    raise
                turn += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    def _draw(self, number: int) -> JobSpec:
        dice = self._dice
        shape = dice.random()
        if shape < 0.55:  # noqa: PLR2004 - one GPU
            resources = ResourceRequest(gpu_count=1)
        elif shape < 0.75:  # noqa: PLR2004 - a part of one
            resources = ResourceRequest(gpu_count=1, gpu_milli=dice.choice((100, 250, 500)))
        elif shape < 0.85:  # noqa: PLR2004 - several on one host
            resources = ResourceRequest(gpu_count=dice.choice((2, 4)), node_count=1)
        else:
            hosts = dice.randint(2, 4)
            resources = ResourceRequest(gpu_count=hosts * dice.choice((1, 2, 4)), node_count=hosts)
        return JobSpec(
            name=f"chaos-{number}",
            resources=resources,
            command="true",
            max_runtime_seconds=3600,
            priority=dice.choice((JobPriority.LOW, JobPriority.NORMAL, JobPriority.NORMAL, JobPriority.HIGH)),
            max_attempts=50,
        )
