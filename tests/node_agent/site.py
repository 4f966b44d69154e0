"""A scripted control plane, a broker, and one node that has joined."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from node_agent.clock import SystemClock
from node_agent.jobs.runner import JobRunner
from node_agent.jobs.settings import RunnerSettings
from node_agent.link.identity import IdentityStore
from node_agent.link.join import JoinOrder, join
from node_agent.link.tls import Address
from node_agent.link.token import JoinToken
from orquanta.v1 import node_link_pb2
from tests.node_agent.broker import NatsServer, nats_serving
from tests.node_agent.daemon_process import DaemonProcess
from tests.node_agent.pki import Authority
from tests.node_agent.plane import Plane, serving


@dataclass
class Site:
    directory: Path
    plane: Plane
    nats: NatsServer
    daemons: list[DaemonProcess] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.directory / "state"

    async def join(self) -> None:
        order = JoinOrder(
            server=Address.parse(self.plane.join_address),
            token=JoinToken.parse(self.plane.token),
            node_name="host-1",
            labels={},
            agent_version="1.2.3",
        )
        await join(order, IdentityStore(self.state_dir), clock=SystemClock())

    async def start(
        self, *arguments: str, settings: str = "", variables: Mapping[str, str] | None = None
    ) -> DaemonProcess:
        daemon = DaemonProcess(self.state_dir, *arguments, settings=settings, variables=variables)
        self.daemons.append(daemon)
        await daemon.start()
        return daemon


def allocation(number: int = 1) -> str:
    """Return the id of an allocation of which no other process of tests has one: members are looked for by name."""
    return f"a-{os.getpid():09d}{number:03d}"


def assignment(command_line: str, *, name: str = "", **changes: object) -> node_link_pb2.MemberAssignment:
    """Return one member that runs a shell command."""
    name = name or allocation()
    member = node_link_pb2.MemberAssignment(
        allocation_id=name,
        job_id="j-" + name[2:],
        epoch=1,
        rank=0,
        world_size=1,
        command=command_line,
        stop_grace=Duration(seconds=2),
    )
    member.MergeFrom(node_link_pb2.MemberAssignment(**changes))  # type: ignore[arg-type] # names are the caller's
    return member


@asynccontextmanager
async def site_of(directory: Path) -> AsyncIterator[Site]:
    """Serve a site; afterwards nothing of it is left running."""
    authority = Authority()
    async with nats_serving(directory / "nats", authority) as server:
        plane = Plane(authority, nats_servers=(server.url,))
        async with serving(plane):
            site = Site(directory, plane, server)
            try:
                yield site
            finally:
                for daemon in site.daemons:
                    await daemon.kill()
                await _end_jobs(site.state_dir)


async def _end_jobs(state_dir: Path) -> None:
    if not (state_dir / "jobs").is_dir():
        return
    async with JobRunner(RunnerSettings(state_dir), SystemClock()) as runner:
        await runner.converge({})
        changes = runner.changes()
        while not all(status.ended for status in runner.statuses().values()):
            await anext(changes)
