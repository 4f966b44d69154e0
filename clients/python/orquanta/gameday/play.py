"""Plays one scenario and puts its report together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orquanta.errors import OrQuantaError
from orquanta.gameday.fleet import FleetError
from orquanta.gameday.scenarios.scenario import Scenario
from orquanta.gameday.stage import Finding, NotHeldError, Stage, open_stage
from orquanta.types.incidents import IncidentTimings

_MISSED = "the game day can be played to its end"


@dataclass(frozen=True, slots=True)
class Course:
    """How one incident went."""

    incident_id: str
    node: str
    state: str
    summary: str
    repairs: tuple[str, ...]
    timings: IncidentTimings


@dataclass(frozen=True, slots=True)
class GameDay:
    """The report of one game day. `skipped` says why it could not be played; it then has no findings."""

    scenario: str
    title: str
    seconds: float
    findings: tuple[Finding, ...] = ()
    courses: tuple[Course, ...] = ()
    most_out: int = 0
    skipped: str = ""

    @property
    def held(self) -> bool:
        """Whether everything held that had to."""
        return all(finding.held for finding in self.findings)


async def play(scenario: Scenario, say: Callable[[str], None], *, directory: Path | None = None) -> GameDay:
    """Play a scenario on a fleet of its own; `directory` is where that is kept, if it is to be kept."""
    if obstacle := scenario.obstacle():
        say(f"         not played: {obstacle}")
        return GameDay(scenario.name, scenario.title, 0.0, skipped=obstacle)
    async with open_stage(scenario.all_settings, say, directory=directory) as stage:
        try:
            await scenario.play(stage)
            await stage.bound_holds(scenario.most_out)
            await stage.books_are_sane()
        except NotHeldError:
            pass  # it is among the findings
        except (FleetError, OrQuantaError) as error:
            stage.expect(_MISSED, held=False, detail=str(error))
        return GameDay(
            scenario.name,
            scenario.title,
            stage.seconds,
            findings=tuple(stage.findings),
            courses=await _courses(stage),
            most_out=stage.levels.fleet_most,
        )


async def _courses(stage: Stage) -> tuple[Course, ...]:
    try:
        found = [one.id async for one in stage.admin.incidents.list(page_size=500)]
        whole = [await stage.admin.incidents.get(incident_id) for incident_id in reversed(found)]
    except OrQuantaError:  # the control plane is away, as the findings say
        return ()
    return tuple(
        Course(
            one.id,
            one.node_name,
            one.state.value,
            one.summary,
            tuple(f"{repair.rung.value} {repair.state.value}" for repair in one.repairs),
            one.timings,
        )
        for one in whole
    )
