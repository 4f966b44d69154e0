"""Grants: approvals given beforehand, for kinds of action, with a budget, a number of uses and an end.

A grant counts as one approval by who gave it. It never counts for the giver's own requests, for an action that was
proposed before the grant was given, or for one of a run that had read strangers' words: that needs somebody's eyes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from control_plane.errors import InvalidArgument, PermissionDenied
from control_plane.governor.needs import may_approve
from control_plane.governor.standing import check_person, is_requester
from control_plane.model.action import Action, Effect, LaunchJobs, PlaceJob, PreemptJob, RequeueJob, StopJob
from control_plane.model.approval import Approval, ApprovalNeed, Grant
from control_plane.model.effects import EFFECT_KINDS
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GrantId, NodeId, UserId
from control_plane.store import audit, grants, nodes, users
from control_plane.store.database import Tx

USES_MAX: Final = 1_000
LIFETIME_MAX: Final = timedelta(days=7)
LIFETIME_MIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a grant covers: these kinds of action, of this user (None: everybody's but the giver's), in this pool."""

    kinds: tuple[str, ...]
    covered_user_id: UserId | None
    pool: str
    budget_usd: Decimal
    uses_max: int
    lifetime: timedelta
    reason: str


def give(tx: Tx, grant_id: GrantId, giver: Principal, terms: Terms) -> Grant:
    """Record a grant.

    Raises:
        PermissionDenied: AGENT_CREDENTIAL, ROLE_TOO_LOW, SELF_APPROVAL.
        InvalidArgument: KIND_UNKNOWN, NUMBER_OUT_OF_RANGE, LIFETIME_OUT_OF_RANGE, USER_NOT_FOUND.
    """
    _check_giver(giver)
    _check(tx, giver, terms)
    grant = Grant(
        id=grant_id,
        user_id=giver.user_id,
        granted_by=giver.email,
        kinds=tuple(sorted(set(terms.kinds))),
        covered_user_id=terms.covered_user_id,
        pool=terms.pool,
        budget_usd=terms.budget_usd,
        used_usd=Decimal(0),
        uses_max=terms.uses_max,
        uses=0,
        reason=terms.reason,
        created_at=tx.now,
        expires_at=tx.now + terms.lifetime,
    )
    grants.insert(tx, grant)
    _record(tx, grant, giver.email, "grant.created", terms.reason)
    return grant


def take_back(tx: Tx, grant_id: GrantId, caller: Principal, reason: str) -> Grant:
    """Let a grant count no more. Raises NotFound, PermissionDenied."""
    _check_giver(caller)
    before = grants.require(tx, grant_id)
    after = grants.revoke(tx, grant_id, by=caller.email)
    if before.revoked_at is None:
        _record(tx, after, caller.email, "grant.revoked", reason)
    return after


def covering(
    tx: Tx, action: Action, need: ApprovalNeed, estimate_usd: Decimal, *, beside: Collection[UserId]
) -> tuple[Grant, ...]:
    """Return one grant of each giver that covers an action now, without the givers who have approved it themselves."""
    if action.tainted:
        return ()
    found: dict[UserId, Grant] = {}
    for grant in grants.usable(tx, action.kind, user_id=action.user_id):
        if grant.user_id in beside or grant.user_id in found or grant.created_at > action.created_at:
            continue
        if grant.used_usd + estimate_usd > grant.budget_usd or not _is_in_pool(tx, action.effect, grant.pool):
            continue
        giver = users.get(tx, grant.user_id)
        if giver is not None and may_approve(need, giver) and not is_requester(tx, action, giver.id, giver.email):
            found[grant.user_id] = grant
    return tuple(found.values())


def use(tx: Tx, action: Action, grant: Grant, estimate_usd: Decimal, policy_version: str) -> Approval:
    """Take what an action costs from a grant, in the transaction that carries it out, and return the approval."""
    grants.use(tx, grant.id, estimate_usd)
    _record(tx, grants.require(tx, grant.id), grant.granted_by, "grant.used", grant.reason, action=action)
    return Approval(
        user_id=grant.user_id,
        approver=grant.granted_by,
        hash=action.hash,
        policy_version=policy_version,
        estimate_usd=estimate_usd,
        reason=grant.reason,
        approved_at=tx.now,
        grant_id=grant.id,
    )


def _check_giver(giver: Principal) -> None:
    check_person(giver)
    if not giver.role.allows(Role.OPERATOR):
        raise PermissionDenied("grants need the role operator", reason="ROLE_TOO_LOW")


def _check(tx: Tx, giver: Principal, terms: Terms) -> None:
    unknown = sorted(set(terms.kinds) - EFFECT_KINDS)
    if unknown or not terms.kinds:
        named = f"{unknown[0][:40]!a} is not a kind of action" if unknown else "name at least one kind of action"
        raise InvalidArgument(f"{named}; there are: {', '.join(sorted(EFFECT_KINDS))}", reason="KIND_UNKNOWN")
    if not 1 <= terms.uses_max <= USES_MAX:
        raise InvalidArgument(f"a grant covers 1 to {USES_MAX} actions", reason="NUMBER_OUT_OF_RANGE")
    if terms.budget_usd < 0:
        raise InvalidArgument("a grant's budget cannot be negative", reason="NUMBER_OUT_OF_RANGE")
    if not LIFETIME_MIN <= terms.lifetime <= LIFETIME_MAX:
        raise InvalidArgument("a grant lasts from one minute to seven days", reason="LIFETIME_OUT_OF_RANGE")
    if terms.covered_user_id == giver.user_id:
        raise PermissionDenied("nobody approves their own requests; ask another operator", reason="SELF_APPROVAL")
    if terms.covered_user_id is not None and users.get(tx, terms.covered_user_id) is None:
        raise InvalidArgument("there is no such user; list them with: orquanta user list", reason="USER_NOT_FOUND")


def _is_in_pool(tx: Tx, effect: Effect, pool: str) -> bool:
    """Tell whether an effect is about nodes of a pool and no others; every effect is if no pool is named."""
    if not pool:
        return True
    found = [nodes.get(tx, node_id) for node_id in _nodes_of(effect)]
    return bool(found) and all(node is not None and node.labels.get("pool", "") == pool for node in found)


def _nodes_of(effect: Effect) -> tuple[NodeId, ...]:
    match effect:
        case LaunchJobs() | StopJob() | RequeueJob() | PreemptJob():
            return ()
        case PlaceJob():
            return tuple(placement.node_id for placement in effect.placements)
        case _:
            return (effect.node_id,)


def _record(tx: Tx, grant: Grant, by: str, what: str, reason: str, *, action: Action | None = None) -> None:
    audit.append(
        tx,
        agent_name=by,
        action=what,
        reasoning=reason,
        outcome="done",
        payload={
            "grant_id": grant.id,
            "kinds": list(grant.kinds),
            "covered_user_id": grant.covered_user_id or "",
            "pool": grant.pool,
            "budget_usd": str(grant.budget_usd),
            "used_usd": str(grant.used_usd),
            "uses_max": grant.uses_max,
            "uses": grant.uses,
            "expires_at": grant.expires_at.isoformat(),
        },
        action_id="" if action is None else action.id,
        goal_id="" if action is None else action.goal_id or "",
        user_id=grant.user_id,
    )
