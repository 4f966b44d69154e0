"""QuotaService: what teams are entitled to, what they hold, and who is in them."""

from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from control_plane.errors import NotFound, PreconditionFailed
from control_plane.fleet.queueing.figures import TeamFigures
from control_plane.model.identity import Principal
from control_plane.model.team import Team, levels
from control_plane.scheduling.view import QueueView
from control_plane.scheduling.world import World
from control_plane.services.caller import person
from control_plane.services.convert import queue as convert
from control_plane.services.mutations import mutation
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.quotas import entitled, team_path
from control_plane.store import audit, teams, users
from control_plane.store.database import Store, Tx
from orquanta.v1 import quota_pb2
from orquanta.v1.quota_pb2_grpc import QuotaServiceServicer

TEAMS_MAX: Final = 1_000


class Quotas(QuotaServiceServicer):
    """Serves quotas."""

    def __init__(self, *, store: Store, view: QueueView) -> None:
        self._store = store
        self._view = view

    @override
    async def ListQuotas(self, request: quota_pb2.ListQuotasRequest, context: object) -> quota_pb2.ListQuotasResponse:
        figures, fleet_gpus = await self._view.look(_figures)
        members, every = await self._store.read(lambda tx: (teams.members(tx), teams.every(tx)))
        return quota_pb2.ListQuotasResponse(
            quotas=[convert.quota(one, members.get(one.team.path, ())) for one in figures],
            fleet_gpus=fleet_gpus,
            guaranteed_gpus=_promised(every),
        )

    @override
    async def SetQuota(self, request: quota_pb2.SetQuotaRequest, context: object) -> quota_pb2.SetQuotaResponse:
        fields = Fields()
        path = team_path(fields, "team", request.team)
        fields.request_id(request.request_id)
        fields.check()
        change, caller = mutation("SetQuota", request, request.request_id), person()

        def write(tx: Tx) -> None:
            if change.remembered(tx) is not None:
                return
            before = teams.get(tx, path)
            after = entitled(found := Fields(), request, before)
            found.check()
            if before is None:
                _check_fits_in(tx, path)
            teams.put(tx, after)
            if before is None or (before.guaranteed_gpus, before.max_gpus) != (after.guaranteed_gpus, after.max_gpus):
                _check_can_be_kept(teams.every(tx), path)
            _audit(tx, caller, "quota.set" if before else "quota.created", before, after)
            change.remember(tx, path)

        await self._store.write(write)
        return quota_pb2.SetQuotaResponse(quota=await self._quota(path))

    @override
    async def RemoveQuota(
        self, request: quota_pb2.RemoveQuotaRequest, context: object
    ) -> quota_pb2.RemoveQuotaResponse:
        fields = Fields()
        path = team_path(fields, "team", request.team)
        fields.request_id(request.request_id)
        fields.check()
        change, caller = mutation("RemoveQuota", request, request.request_id), person()

        def write(tx: Tx) -> None:
            if change.remembered(tx) is not None:
                return
            before = teams.require(tx, path)
            accounts, below, live = teams.in_use(tx, path)
            if accounts or below or live:
                raise PreconditionFailed(
                    f"team {path} has {accounts} accounts, {below} teams in it and {live} jobs that have not ended; "
                    "assign the accounts elsewhere, remove the teams in it, and wait for its jobs",
                    reason="TEAM_IN_USE",
                )
            teams.remove(tx, path)
            _audit(tx, caller, "quota.removed", before, None)
            change.remember(tx, path)

        await self._store.write(write)
        return quota_pb2.RemoveQuotaResponse()

    @override
    async def AssignTeam(self, request: quota_pb2.AssignTeamRequest, context: object) -> quota_pb2.AssignTeamResponse:
        fields = Fields()
        email = fields.email("email", request.email)
        path = team_path(fields, "team", request.team) if request.team else ""
        fields.request_id(request.request_id)
        fields.check()
        change, caller = mutation("AssignTeam", request, request.request_id), person()

        def write(tx: Tx) -> str:
            user = users.by_email(tx, email)
            if user is None:
                raise NotFound(
                    f"there is no account {email}; list them with: orquanta user list", reason="USER_NOT_FOUND"
                )
            if path:
                teams.require(tx, path)
            if change.remembered(tx) is None:
                users.set_team(tx, user.id, path)
                audit.append(
                    tx,
                    agent_name=caller.email,
                    action="team.assigned",
                    reasoning=f"into {path}" if path else "out of every team",
                    outcome="done",
                    payload={"user_id": user.id, "email": email, "team": path, "before": user.team},
                    user_id=caller.user_id,
                )
                change.remember(tx, path)
            return users.require(tx, user.id).team

        team = await self._store.write(write)
        return quota_pb2.AssignTeamResponse(email=email, team=team)

    async def _quota(self, path: str) -> quota_pb2.Quota:
        figures, _ = await self._view.look(_figures)
        members = await self._store.read(teams.members)
        found = next((one for one in figures if one.team.path == path), None)
        return quota_pb2.Quota(team=path) if found is None else convert.quota(found, members.get(path, ()))


def _figures(world: World) -> tuple[tuple[TeamFigures, ...], float]:
    return world.quotas(), float(sum(len(host.slots) for host in world.hosts.values() if host.open))


def _promised(every: tuple[Team, ...]) -> int:
    """Return what is guaranteed in all: what a team promises to the teams in it is within its own."""
    return sum(gpus for path, gpus in _promises(every).items() if "/" not in path)


def _promises(every: tuple[Team, ...]) -> Mapping[str, int]:
    """Return what is guaranteed to each team with the teams in it."""
    needed: dict[str, int] = {}
    for team in sorted(every, key=lambda one: -len(levels(one.path))):
        needed[team.path] = max(team.guaranteed_gpus, needed.get(team.path, 0))
        above = levels(team.path)[:-1]
        if above:
            needed[above[-1]] = needed.get(above[-1], 0) + needed[team.path]
    return needed


def _check_can_be_kept(every: tuple[Team, ...], path: str) -> None:
    """Refuse guarantees that a limit around them never lets anybody have."""
    needed, limits = _promises(every), {team.path: team.max_gpus for team in every}
    for level in levels(path):
        most = limits[level]
        if most is not None and needed[level] > most:
            raise PreconditionFailed(
                f"team {level} may hold at most {most} GPUs, and {needed[level]} would be guaranteed to it and the "
                f"teams in it; guarantee less, or raise its limit: orquanta quota set {level} --max {needed[level]}",
                reason="QUOTA_INVALID",
            )


def _check_fits_in(tx: Tx, path: str) -> None:
    missing = [level for level in levels(path)[:-1] if teams.get(tx, level) is None]
    if missing:
        raise PreconditionFailed(
            f"there is no team {missing[0]} for {path} to be in; make it first with: orquanta quota set {missing[0]}",
            reason="TEAM_NOT_FOUND",
        )
    if len(teams.every(tx)) >= TEAMS_MAX:
        raise PreconditionFailed(f"there are {TEAMS_MAX} teams already; remove one", reason="TOO_MANY_TEAMS")


def _audit(tx: Tx, caller: Principal, action: str, before: Team | None, after: Team | None) -> None:
    shown: Mapping[str, Team | None] = {"before": before, "after": after}
    audit.append(
        tx,
        agent_name=caller.email,
        action=action,
        reasoning=_words(before, after),
        outcome="done",
        payload={
            name: {
                "team": team.path,
                "weight": team.weight,
                "guaranteed_gpus": team.guaranteed_gpus,
                "max_gpus": team.max_gpus,
            }
            for name, team in shown.items()
            if team is not None
        },
        user_id=caller.user_id,
    )


def _words(before: Team | None, after: Team | None) -> str:
    if after is None:
        return f"{before.path} is gone" if before is not None else ""
    most = "no limit" if after.max_gpus is None else f"at most {after.max_gpus}"
    return f"{after.path}: {after.guaranteed_gpus} GPUs guaranteed, {most}, weight {after.weight:g}"
