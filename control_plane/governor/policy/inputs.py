"""What a rule can look at: typed, always complete, taken from the store and never from anybody's words.

Every field is always there; what does not apply is empty, zero or false. These classes are the reference of the
variables in `docs/policies.md`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final

from control_plane.model.freeze import WEEKDAYS

UNLIMITED_USD: Final = 1e12
"""What is left of a budget that has no limit."""


@dataclass(frozen=True, slots=True)
class NodeInput:
    """A node. `protected`: it has the label that keeps agents away."""

    id: str = ""
    name: str = ""
    state: str = ""
    pool: str = ""
    rack: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0
    gpu_types: tuple[str, ...] = ()
    cordoned: bool = False
    protected: bool = False


@dataclass(frozen=True, slots=True)
class JobInput:
    """A job: one to be launched, or one that the action is about. `protected`: it runs on a protected node.

    `team` is the one that it counts for; `gpu_milli` the part of its one GPU in thousandths, 0 for whole GPUs.
    """

    id: str = ""
    name: str = ""
    owner: str = ""
    state: str = ""
    image: str = ""
    template: str = ""
    gpu_types: tuple[str, ...] = ()
    gpus: int = 0
    nodes: int = 0
    max_runtime_seconds: int = 0
    max_attempts: int = 0
    priority: str = ""
    protected: bool = False
    team: str = ""
    gpu_milli: int = 0


@dataclass(frozen=True, slots=True)
class ActionInput:
    """What is proposed.

    `kind` is "launch_jobs", "drain_node", ...; `arguments` its frozen arguments; `rung` and `dry_run` are those of a
    repair. `node` and `job` are the ones it is about; `nodes` all that it touches; `jobs` those that it launches, stops
    or finds on its node; `gpu_types` and `pools` what these come to. `destructive`: it stops work or takes a host away.
    """

    kind: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)  # Any: the arguments of any kind, as JSON
    proposer: str = ""
    is_person: bool = False
    destructive: bool = False
    rung: str = ""
    dry_run: bool = False
    node: NodeInput = NodeInput()
    job: JobInput = JobInput()
    nodes: tuple[NodeInput, ...] = ()
    jobs: tuple[JobInput, ...] = ()
    gpu_types: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EstimateInput:
    """What it would take: at most this many US dollars beyond what is reserved, GPUs, nodes and jobs."""

    usd: float = 0.0
    gpus: int = 0
    nodes: int = 0
    jobs: int = 0


@dataclass(frozen=True, slots=True)
class ActorInput:
    """Who proposes: `kind` is "person" or "agent", `name` an e-mail or an agent's name; `role` is a person's."""

    kind: str = "agent"
    name: str = ""
    email: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class TenantInput:
    """The account on whose behalf it is. `gpus_limit` is what it may hold at a time; parts are rounded up."""

    email: str = ""
    role: str = ""
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    gpus_held: int = 0
    gpus_limit: int = 0
    team: str = ""


@dataclass(frozen=True, slots=True)
class BudgetInput:
    """The tenant's budget, and the goal's. Without a limit, a trillion dollars are left."""

    limited: bool = False
    usd: float = UNLIMITED_USD
    left_usd: float = UNLIMITED_USD
    goal_limited: bool = False
    goal_usd: float = UNLIMITED_USD
    goal_left_usd: float = UNLIMITED_USD


@dataclass(frozen=True, slots=True)
class FleetInput:
    """The nodes in the fleet, how many are out of service, and which share that is, from 0 to 1."""

    nodes: int = 0
    out_of_service: int = 0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class TimeInput:
    """The moment of judging, in UTC; `weekday` is "monday" to "sunday"."""

    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    hour: int = 0
    minute: int = 0
    weekday: str = "thursday"


@dataclass(frozen=True, slots=True)
class GoalInput:
    """The goal it belongs to, if any, and whose that is."""

    id: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """Everything. `taint`: the run that proposes had read words that strangers wrote."""

    action: ActionInput = ActionInput()
    est: EstimateInput = EstimateInput()
    actor: ActorInput = ActorInput()
    tenant: TenantInput = TenantInput()
    budget: BudgetInput = BudgetInput()
    fleet: FleetInput = FleetInput()
    time: TimeInput = TimeInput()
    goal: GoalInput = GoalInput()
    taint: bool = False

    def document(self) -> dict[str, Any]:  # Any: nested JSON
        """Return it as plain JSON values; times as RFC 3339."""
        found: dict[str, Any] = _plain(self)  # Any: nested JSON
        found["time"]["now"] = self.time.now.astimezone(UTC).isoformat()
        return found

    def kept_json(self) -> str:
        """Return the document as JSON with sorted keys and no spaces, without the arguments, which the action has."""
        return _ENCODER.encode(self)


def _plain(value: Any) -> Any:  # Any: nested values of all kinds in, nested JSON out
    """Do what `dataclasses.asdict` does, without copying what nobody can change: it is asked for with each proposal."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if is_dataclass(value):
        kind: type = type(value)
        return {name: _plain(getattr(value, name)) for name in _names(kind)}
    return value


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _shown(value: object) -> object:
    """Return what JSON has in place of a moment, or of one of the classes here."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    kind: type = type(value)
    names, read = _read(kind)
    return dict(zip(names, read(value), strict=True))


@cache
def _read(kind: type) -> tuple[tuple[str, ...], Callable[[object], Sequence[object]]]:
    """Return the names of a class's fields and what reads them, without the arguments of an action."""
    names = tuple(sorted(name for name in _names(kind) if name != "arguments"))
    return names, attrgetter(*names)


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_shown)


def time_input(now: datetime) -> TimeInput:
    """Return a moment as rules see it."""
    utc = now.astimezone(UTC)
    return TimeInput(utc, utc.hour, utc.minute, WEEKDAYS[utc.weekday()])
