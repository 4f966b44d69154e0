"""What is said, before it becomes a plan: facts per job, and for the whole goal."""

from dataclasses import dataclass, field

from control_plane.agents.orchestrator.planner.budget import Budgets
from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts
from control_plane.agents.orchestrator.planner.spot import SpotReading
from control_plane.agents.orchestrator.planner.timing import Limits, Window
from control_plane.model.plan import LAUNCH_INTENTS, Intent, Priority


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is said about one job; `word` is the word that asks for it, `depends_on` are indexes.

    `program` is what is to run in the goal's words, where they do not say how it is started.
    """

    intent: Intent
    word: str
    gpu: GpuFacts
    limits: Limits = field(default_factory=Limits)
    image: Fact[str] | None = None
    command: Fact[str] | None = None
    condition: Fact[str] | None = None
    depends_on: tuple[int, ...] = ()
    program: Fact[str] | None = None

    @property
    def lacks_command(self) -> bool:
        """Whether it speaks of a program of its own and does not say how that is started."""
        return self.program is not None and self.command is None and self.image is None


@dataclass(frozen=True, slots=True)
class Places:
    """Where to run and where not to."""

    providers: Fact[tuple[str, ...]] | None = None
    exclude_providers: Fact[tuple[str, ...]] | None = None
    regions: Fact[tuple[str, ...]] | None = None
    exclude_regions: Fact[tuple[str, ...]] | None = None
    data_residency: Fact[str] | None = None


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """Which existing things are meant."""

    job_ids: Fact[tuple[str, ...]] | None = None
    nodes: Fact[tuple[str, ...]] | None = None
    gpu_index: Fact[int] | None = None
    team: Fact[str] | None = None
    pool: Fact[str] | None = None
    all_of_mine: Fact[bool] | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """All facts of a goal."""

    intent: Fact[Intent]
    jobs: tuple[JobFacts, ...]
    window: Window
    budgets: Budgets
    spot: SpotReading
    priority: Fact[Priority] | None
    places: Places
    targets: TargetFacts
    plan_only: Fact[bool] | None

    @property
    def launches(self) -> bool:
        """Whether the goal starts jobs."""
        return self.intent.value in LAUNCH_INTENTS
