"""A fleet in a store: people, hosts with GPUs, jobs, and what hosts say, in as few words as tests need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count

from control_plane.fleet.prices import PriceTable
from control_plane.governor import books, hosts, repairs, verdicts
from control_plane.governor.defaults import JobDefaults
from control_plane.governor.governor import Governor
from control_plane.governor.rules import Limits
from control_plane.model.account import User
from control_plane.model.action import (
    Action,
    Effect,
    LaunchJobs,
    NewJob,
    PlaceJob,
    Placement,
    Proposal,
    RequeueJob,
    StopJob,
)
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import CertificateSerial, CredentialKind, Principal, Role
from control_plane.model.ids import ACTION, GOAL, JOB, NODE, GoalId, JobId, NodeId, derived_id, derived_user_id
from control_plane.model.job import Allocation, AllocationState, ExitReason, Job, JobSpec, ResourceRequest
from control_plane.model.node import GpuInventory, HostInventory, Node, NodeState
from control_plane.model.record import AuditRecord
from control_plane.model.report import MemberReport
from control_plane.store import audit, goals, gpu_holds, jobs, nodes, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from tests.fake_clock import FakeClock

GB = 10**9
LIMITS = Limits(approval_above_usd=Decimal(1000), max_gpus_per_user=64)
DEFAULTS = JobDefaults(max_runtime_seconds=3600, stop_grace_seconds=10, max_attempts=3)
RUNNING = AllocationState.RUNNING
ENDED = AllocationState.ENDED


def gpus(node: str, number: int, gpu_type: str = "H100", memory_gb: int = 80) -> tuple[GpuInventory, ...]:
    return tuple(
        GpuInventory(
            index=index,
            uuid=f"GPU-{node}-{index}",
            gpu_type=gpu_type,
            product_name=f"NVIDIA {gpu_type}",
            memory_bytes=memory_gb * GB,
        )
        for index in range(number)
    )


def inventory(name: str, devices: Sequence[GpuInventory]) -> HostInventory:
    return HostInventory(
        hostname=name,
        boot_id=f"boot-{name}",
        agent_version="1.0",
        gpus=tuple(devices),
        cpu_count=64,
        memory_bytes=512 * GB,
        address=f"{name}.example",
    )


def spec(
    name: str = "train",
    *,
    gpu: int = 1,
    types: tuple[str, ...] = ("H100",),
    nodes: int = 0,
    seconds: int = 3600,
    needs: tuple[JobId, ...] = (),
    **resources: int | str | tuple[str, ...],
) -> JobSpec:
    request = ResourceRequest(gpu_types=types if gpu else (), gpu_count=gpu, node_count=nodes)
    return JobSpec(
        name=name,
        resources=replace(request, **resources),  # type: ignore[arg-type] # fields of the request by their names
        command="true",
        max_runtime_seconds=seconds,
        depends_on=needs,
    )


def job_id(text: str) -> JobId:
    return derived_id(JOB, text)


@dataclass
class World:
    """A governor on a store."""

    store: Store
    clock: FakeClock
    governor: Governor
    _numbers: "count[int]" = field(default_factory=count)

    @classmethod
    def on(
        cls, store: Store, clock: FakeClock, *, limits: Limits = LIMITS, prices: PriceTable | None = None
    ) -> "World":
        governor = Governor(store, limits=limits, defaults=DEFAULTS, prices=prices or PriceTable())
        return cls(store, clock, governor)

    # People, hosts, goals.

    async def user(
        self,
        name: str = "ada",
        *,
        role: Role = Role.USER,
        budget_usd: Decimal | int | None = None,
        max_gpus: int | None = None,
    ) -> User:
        user = User(
            id=derived_user_id(name),
            email=f"{name}@example.com",
            role=role,
            disabled=False,
            created_at=self.clock.now(),
            budget_usd=None if budget_usd is None else Decimal(budget_usd),
            spent_usd=Decimal(0),
            reserved_usd=Decimal(0),
            max_gpus=max_gpus,
        )
        await self.store.write(lambda tx: users.insert(tx, user, "hash"))
        return user

    async def principal(self, name: str, role: Role = Role.OPERATOR) -> Principal:
        return principal(await self.user(name, role=role))

    async def node(
        self,
        name: str = "alpha",
        *,
        gpu: int = 8,
        gpu_type: str = "H100",
        memory_gb: int = 80,
        ready: bool = True,
        labels: Mapping[str, str] | None = None,
        shares: bool = False,
        executor: str = "",
        devices: Sequence[GpuInventory] = (),
    ) -> Node:
        node = Node(
            id=derived_id(NODE, name),
            name=name,
            state=NodeState.JOINING,
            status_reason="",
            cordoned=False,
            connected=False,
            inventory=None,
            labels=labels or {},
            certificate_serial=CertificateSerial("1"),
            certificate_expires_at=self.clock.now(),
            last_seen_at=None,
            created_at=self.clock.now(),
            version=1,
        )
        limits = ("gpu_share",) if shares else ()
        host = inventory(name, devices or gpus(name, gpu, gpu_type, memory_gb))
        made = replace(host, enforceable_limits=limits, executor=executor)

        def write(tx: Tx) -> Node:
            nodes.insert(tx, node)
            if ready:
                return hosts.node_connected(tx, node.id, made, zombies=0)
            return node

        return await self.store.write(write)

    async def goal(self, user: User, text: str = "train") -> Goal:
        goal = Goal(
            id=derived_id(GOAL, text, str(next(self._numbers))),
            user_id=user.id,
            user_email=user.email,
            text=text,
            timezone="",
            state=GoalState.SUBMITTED,
            status_reason="",
            plan=None,
            answers=(),
            budget_usd=None,
            result="",
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
            version=1,
        )

        def write(tx: Tx) -> Goal:
            goals.insert(tx, goal)
            return goals.update(tx, goal.id, state=GoalState.PLANNING)

        return await self.store.write(write)

    # Proposals.

    def proposal(
        self,
        effect: Effect,
        *,
        user: User | None = None,
        goal_id: GoalId | None = None,
        person: bool = False,
        key: str = "",
    ) -> Proposal:
        return Proposal(
            id=derived_id(ACTION, key or str(next(self._numbers)), "test"),
            effect=effect,
            proposer=user.email if user is not None and person else "an_agent",
            reasoning="a test wants it",
            is_person=person,
            user_id=None if user is None else user.id,
            goal_id=goal_id,
            node_id=getattr(effect, "node_id", None),
        )

    async def propose(self, effect: Effect, *, user: User | None = None, person: bool = False) -> Action:
        goal_id = effect.goal_id if isinstance(effect, LaunchJobs) else None
        return await self.governor.propose(self.proposal(effect, user=user, goal_id=goal_id, person=person))

    async def launch(
        self, user: User, *specs: JobSpec, goal: Goal | None = None, budget_usd: Decimal | None = None
    ) -> Action:
        """Propose jobs whose ids are those of their names."""
        new = tuple(NewJob(job_id(one.name), one) for one in specs)
        return await self.propose(LaunchJobs(new, None if goal is None else goal.id, budget_usd), user=user)

    async def place(self, name: str, *where: tuple[Node, Sequence[int]], gpu_type: str = "H100") -> Action:
        """Propose to give the job these GPUs, by index on each node."""
        job = await self.job(name)
        placements = tuple(
            Placement(rank, node.id, tuple(f"GPU-{node.name}-{index}" for index in indexes))
            for rank, (node, indexes) in enumerate(where)
        )
        return await self.propose(PlaceJob(job.id, job.epoch + 1, gpu_type, placements, "a test wants it"))

    async def stop(self, name: str, user: User) -> Action:
        return await self.propose(StopJob(job_id(name), "a test wants it"), user=user, person=True)

    async def requeue(self, name: str) -> Action:
        newest = (await self.job(name)).allocations[-1]
        return await self.propose(RequeueJob(newest.job_id, newest.id, "its node is lost"))

    # What hosts say.

    async def report(
        self,
        name: str,
        state: AllocationState,
        reason: ExitReason | None = None,
        *,
        rank: int = 0,
        epoch: int = 0,
        exit_code: int | None = None,
        gpu_seconds: float = 0.0,
        verdict: bool = True,
    ) -> books.ReportOutcome:
        """Report about a member of the job's attempt `epoch`, the newest if 0, from its own node."""
        return await self.report_of(
            job_id(name),
            state,
            reason,
            rank=rank,
            epoch=epoch,
            exit_code=exit_code,
            gpu_seconds=gpu_seconds,
            verdict=verdict,
        )

    async def report_of(
        self,
        of: JobId,
        state: AllocationState,
        reason: ExitReason | None = None,
        *,
        rank: int = 0,
        epoch: int = 0,
        exit_code: int | None = None,
        gpu_seconds: float = 0.0,
        verdict: bool = True,
    ) -> books.ReportOutcome:
        """Do the same for a job whose id is not that of its name; with `verdict`, no word of a fault is awaited."""
        job = await self.store.read(lambda tx: jobs.require(tx, of))
        allocation = job.allocations[epoch - 1]
        member = allocation.members[rank]
        report = MemberReport(
            allocation_id=allocation.id,
            job_id=job.id,
            epoch=allocation.epoch,
            rank=rank,
            state=state,
            exit_reason=reason,
            exit_code=exit_code,
            gpu_seconds=gpu_seconds,
            ended_at=self.clock.now() if state is ENDED else None,
        )
        outcome = await self.store.write(lambda tx: books.apply_report(tx, member.node_id, report))
        if verdict:
            await self.store.write(lambda tx: verdicts.conclude(tx, allocation.id))
        return outcome

    async def finish(self, name: str, *, exit_code: int = 0, gpu_seconds: float = 0.0) -> None:
        """Have every member of the job's newest attempt exit."""
        for rank in range(len((await self.job(name)).allocations[-1].members)):
            await self.report(name, ENDED, ExitReason.EXITED, rank=rank, exit_code=exit_code, gpu_seconds=gpu_seconds)

    async def come_back(self, node: Node, *, gpu: int = 8, zombies: int = 0) -> Node:
        found = inventory(node.name, gpus(node.name, gpu))

        def write(tx: Tx) -> Node:
            back = hosts.node_connected(tx, node.id, found, zombies=zombies)
            repairs.note_reconnect(tx, node.id)
            return back

        return await self.store.write(write)

    async def cut_off(self, node: Node) -> None:
        await self.store.write(lambda tx: hosts.node_disconnected(tx, node.id))

    async def lose(self, node: Node) -> None:
        await self.store.write(lambda tx: hosts.node_lost(tx, node.id, "silent"))

    # What the store says.

    async def job(self, name: str) -> Job:
        return await self.store.read(lambda tx: jobs.require(tx, job_id(name)))

    async def maybe_job(self, name: str) -> Job | None:
        return await self.store.read(lambda tx: jobs.get(tx, job_id(name)))

    async def account(self, user: User) -> User:
        return await self.store.read(lambda tx: users.require(tx, user.id))

    async def goal_now(self, goal: Goal) -> Goal:
        return await self.store.read(lambda tx: goals.require(tx, goal.id))

    async def node_now(self, node: Node) -> Node:
        return await self.store.read(lambda tx: nodes.resolve(tx, node.id))

    async def held(self, node_id: NodeId | None = None) -> set[str]:
        return await self.store.read(lambda tx: set(gpu_holds.holds(tx, node_id=node_id)))

    async def newest(self, name: str) -> Allocation:
        return (await self.job(name)).allocations[-1]

    async def audit(self, **which: str) -> tuple[AuditRecord, ...]:
        """Return the audit records that match, oldest first."""
        found = AuditFilter(**which)  # type: ignore[arg-type] # fields of the filter by their names
        page = await self.store.read(lambda tx: audit.page(tx, found, PageRequest(500)))
        return tuple(reversed(page.items))


def principal(user: User) -> Principal:
    return Principal(user.id, user.email, user.role, CredentialKind.PASSWORD, "credential")
