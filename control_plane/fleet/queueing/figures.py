"""What teams hold, have borrowed and wait for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.fleet.queueing.backlog import Backlog
from control_plane.fleet.queueing.ledger import Ledger
from control_plane.fleet.queueing.teams import Parties, asked_gpu_milli
from control_plane.model.team import Team


@dataclass(frozen=True, slots=True)
class TeamFigures:
    """Figures of a team, those of the teams in it included; parts of GPUs count as parts.

    `borrowed_gpus` is what it holds above its guarantee. `dominant_share` is the largest part of GPUs, CPU or memory of
    the fleet that it holds, divided by its weight.
    """

    team: Team
    held_gpus: float
    borrowed_gpus: float
    waiting_gpus: float
    dominant_share: float
    running_jobs: int
    waiting_jobs: int


def team_figures(backlog: Backlog, ledger: Ledger, parties: Parties, teams: Sequence[Team]) -> tuple[TeamFigures, ...]:
    """Return the figures of all teams by path; of the jobs that have none, if there are any, with an empty path."""
    running: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for claim in ledger.claims.values():
        running.update(_paths(claim.team))
    for job in backlog.jobs.values():
        for path in _paths(job.team):
            waiting[path] += 1
            asked[path] += asked_gpu_milli(job.resources)
    known = {team.path: team for team in teams}
    every = sorted({*known, *running, *waiting})
    return tuple(
        _figures(known.get(path) or Team(path), parties, running[path], waiting[path], asked[path]) for path in every
    )


def _figures(team: Team, parties: Parties, running: int, waiting: int, asked_milli: int) -> TeamFigures:
    party = parties.team(team.path) if team.path else parties.without_team()
    borrowed = max(0, party.gpu_milli - party.guaranteed_milli)
    return TeamFigures(
        team,
        held_gpus=party.gpu_milli / 1000,
        borrowed_gpus=borrowed / 1000,
        waiting_gpus=asked_milli / 1000,
        dominant_share=parties.share(party),
        running_jobs=running,
        waiting_jobs=waiting,
    )


def _paths(team: str) -> list[str]:
    """Return the team and all it is in; the empty path for none."""
    if not team:
        return [""]
    words = team.split("/")
    return ["/".join(words[: depth + 1]) for depth in range(len(words))]
