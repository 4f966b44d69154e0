"""What a tool of OrQuanta's own is: its data, what it does to the world, and the code behind it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar

from control_plane.clock import Clock
from control_plane.fleet.prices import PriceTable
from control_plane.memory.contract import MemoryStore
from control_plane.model.action import Effect
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GoalId, JobId, NodeId, Prefix, derived_id
from control_plane.model.job import Job
from control_plane.model.tool import ToolEffect, ToolSpec
from control_plane.store.database import Store, Tx
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.arguments import Input
from control_plane.tools.fleet_gpus import FleetGpus
from control_plane.tools.output import Output, Usd
from control_plane.tools.schema import schema_of

InputT = TypeVar("InputT", bound=Input)
OutputT = TypeVar("OutputT", bound=Output)
_Id = TypeVar("_Id", bound=str)

READ_TIMEOUT_SECONDS = 15.0
WRITE_TIMEOUT_SECONDS = 30.0
RESULT_BYTES_MAX = 16_384


class JobDiagnoser(Protocol):
    """Tells why jobs failed."""

    async def of_job(
        self, principal: Principal, reference: str, attempt: int | None = None, *, seconds: float
    ) -> tuple[Job, Diagnosis]:
        """Return a job, by id or name, and why it failed; `seconds` is how long a model may take where rules end."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What read tools read from."""

    store: Store
    logs: LogStore
    telemetry: TelemetryWindows
    memory: MemoryStore | None
    prices: PriceTable
    clock: Clock
    diagnoses: JobDiagnoser
    gpus: FleetGpus


@dataclass(frozen=True, slots=True)
class Found(Generic[OutputT]):
    """What a read tool found. `empty` says that there was nothing to tell.

    `own_words` says that it holds nobody's words but the caller's and ours, though another result could.
    """

    output: OutputT
    evidence_id: str = ""
    empty: bool = False
    own_words: bool = False


@dataclass(frozen=True, slots=True)
class ReadTool(Generic[InputT, OutputT]):
    """A tool that only reads. `untrusted` is false only where no stranger's sentence can be in its result."""

    name: str
    description: str
    arguments: type[InputT]
    result: type[OutputT]
    read: Callable[[Sources, Principal, InputT], Awaitable[Found[OutputT]]]
    untrusted: bool = True
    role: Role = Role.VIEWER
    timeout_seconds: float = READ_TIMEOUT_SECONDS

    def spec(self) -> ToolSpec:
        """Return the tool as callers are told of it."""
        return ToolSpec(
            name=self.name,
            version="1",
            description=self.description,
            input_schema=schema_of(self.arguments),
            output_schema=schema_of(self.result, result=True),
            effect=ToolEffect.READ,
            idempotent=True,
            role=self.role,
            timeout_seconds=self.timeout_seconds,
            result_bytes_max=RESULT_BYTES_MAX,
            untrusted_result=self.untrusted,
        )


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks for a change, and the key that the ids of what it makes are derived from."""

    principal: Principal
    caller: str
    key: str

    def id(self, prefix: Prefix[_Id], *parts: str) -> _Id:
        """Return the id of something that this call makes: the same for every repeat of it."""
        return derived_id(prefix, "tool", self.caller, self.key, *parts)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a write tool asks for, with names resolved to ids.

    `target` is what it is about, as it was stated; a plan that names it, or any of `also`, has named this.
    """

    effect: Effect
    target: str
    also: tuple[str, ...] = ()
    job_id: JobId | None = None
    node_id: NodeId | None = None
    goal_id: GoalId | None = None


@dataclass(frozen=True, slots=True)
class WriteTool(Generic[InputT]):
    """A tool that proposes one effect to the governor.

    `wish` makes it in the transaction that decides, so that what it read still holds. Raises domain errors.
    """

    name: str
    description: str
    arguments: type[InputT]
    effect: ToolEffect
    wish: Callable[[Tx, Ask, InputT], Wish]
    undo_tool: str = ""
    role: Role = Role.OPERATOR
    costs_money: bool = False

    def spec(self) -> ToolSpec:
        """Return the tool as callers are told of it."""
        return ToolSpec(
            name=self.name,
            version="1",
            description=self.description,
            input_schema=schema_of(self.arguments),
            output_schema=schema_of(Proposed, result=True),
            effect=self.effect,
            idempotent=True,  # the step's key makes a repeat the same action
            undo_tool=self.undo_tool,
            role=self.role,
            timeout_seconds=WRITE_TIMEOUT_SECONDS,
            result_bytes_max=RESULT_BYTES_MAX,
            untrusted_result=False,
            costs_money=self.costs_money,
        )


class Proposed(Output):
    """What became of a proposal. `decision` has one line for each rule; `estimate_usd` is the most that it can cost."""

    action_id: str
    state: str
    summary: str
    target: str
    decision: tuple[str, ...]
    outcome: str
    estimate_usd: Usd = Decimal(0)
    job_ids: tuple[str, ...] = ()


AnyReadTool = ReadTool[Any, Any]  # Any: each tool has models of its own
AnyWriteTool = WriteTool[Any]  # Any: each tool has a model of its own
AnyTool = AnyReadTool | AnyWriteTool
