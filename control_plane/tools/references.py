"""Names and ids in arguments: their form, and what they stand for."""

from typing import Annotated

from pydantic import Field

from control_plane.errors import InvalidArgument, NotFound, PermissionDenied
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GOAL, INCIDENT, JOB, GoalId, IncidentId, JobId, UserId, parse_id
from control_plane.model.job import Job
from control_plane.store import job_names, jobs, spending, teams, users
from control_plane.store.database import Tx

ME = "me"

NodeReference = Annotated[str, Field(min_length=1, max_length=253, description="Id or name of a node")]
JobReference = Annotated[str, Field(min_length=1, max_length=63, description="Id or name of a job")]
GoalReference = Annotated[str, Field(min_length=1, max_length=20, description="Id of a goal, g-...")]
IncidentReference = Annotated[str, Field(min_length=1, max_length=20, description="Id of an incident, i-...")]
GpuType = Annotated[str, Field(min_length=1, max_length=64, description="GPU model, for example H100")]
Person = Annotated[str, Field(min_length=1, max_length=254, description='E-mail address, or "me"')]
Limit = Annotated[int, Field(ge=1, le=100, description="Entries at most")]
PageToken = Annotated[str, Field(max_length=1024, description="next_page of the page before; empty for the first")]

TeamName = Annotated[
    str,
    Field(min_length=1, max_length=255, description='A team with the teams in it: its path, such as "research/nlp"'),
]

JOBS_OF_A_NAME_TOLD = 5

_TEAMS_TOLD = 20


def goal_id(text: str) -> GoalId:
    """Return a goal's id. Raises InvalidArgument."""
    return parse_id(GOAL, text)


def incident_id(text: str) -> IncidentId:
    """Return an incident's id. Raises InvalidArgument."""
    return parse_id(INCIDENT, text)


def job_to_read(tx: Tx, text: str, principal: Principal) -> Job:
    """Return the job of this id, or the newest of this name: the caller's own first, then anybody's.

    Raises NotFound.
    """
    if _is_job_id(text):
        return jobs.require(tx, JobId(text))
    named = job_names.newest(tx, text, limit=1, user_id=principal.user_id) or job_names.newest(tx, text, limit=1)
    if not named:
        raise NotFound(f"there is no job with the id or name {text[:63]!a}; see list_jobs", reason="JOB_NOT_FOUND")
    return jobs.require(tx, named[0])


def job_to_change(tx: Tx, text: str, principal: Principal) -> Job:
    """Return the job of this id, or the caller's only unended one of this name, if the caller may change it.

    Raises NotFound, InvalidArgument (NAME_AMBIGUOUS) or PermissionDenied.
    """
    job_id = JobId(text) if _is_job_id(text) else _only_one(tx, text, principal)
    job = jobs.require(tx, job_id, with_allocations=False)
    if job.user_id != principal.user_id and not principal.role.allows(Role.OPERATOR):
        raise PermissionDenied(
            f"job {job.id} belongs to somebody else: ask its owner, or somebody with the role operator",
            reason="NOT_THE_OWNER",
        )
    return job


def user_id(tx: Tx, text: str, principal: Principal) -> UserId:
    """Return whose e-mail address this is. Raises NotFound."""
    if text == ME or text.lower() == principal.email.lower():
        return principal.user_id
    user = users.by_email(tx, text)
    if user is None:
        raise NotFound(f"nobody has the e-mail address {text[:100]!a}", reason="USER_NOT_FOUND")
    return user.id


def team_path(tx: Tx, text: str) -> str:
    """Return the path of the team that is meant: its own, or the last part of it where one team alone has that.

    Teams that are gone count as long as there are jobs of theirs. Raises NotFound (TEAM_NOT_FOUND) or InvalidArgument
    (TEAM_AMBIGUOUS).
    """
    known = [team.path for team in teams.every(tx)]
    if text in known:
        return text
    wanted = text.lower()
    alike = [path for path in known if path.lower() == wanted]
    alike = alike or [path for path in known if path.lower().rpartition("/")[2] == wanted]
    if len(alike) > 1:
        raise InvalidArgument(
            f"several teams are called {text[:100]!a}; give the path of one: {', '.join(alike[:_TEAMS_TOLD])}",
            reason="TEAM_AMBIGUOUS",
        )
    if alike:
        return alike[0]
    if spending.has_jobs(tx, text):
        return text
    there = f"there are {', '.join(known[:_TEAMS_TOLD])}" if known else "no team was made yet"
    more = f" and {len(known) - _TEAMS_TOLD} more" if len(known) > _TEAMS_TOLD else ""
    raise NotFound(f"there is no team {text[:100]!a}; {there}{more}", reason="TEAM_NOT_FOUND")


def _is_job_id(text: str) -> bool:
    try:
        parse_id(JOB, text)
    except InvalidArgument:
        return False
    return True


def _only_one(tx: Tx, name: str, principal: Principal) -> JobId:
    named = job_names.newest(tx, name, limit=JOBS_OF_A_NAME_TOLD, user_id=principal.user_id, unended=True)
    if not named:
        raise NotFound(
            f"you have no job named {name[:63]!a} that has not ended; see list_jobs and give an id",
            reason="JOB_NOT_FOUND",
        )
    if len(named) > 1:
        raise InvalidArgument(
            f"several of your jobs are named {name[:63]!a}; give the id of one: {', '.join(named)}",
            reason="NAME_AMBIGUOUS",
        )
    return named[0]
