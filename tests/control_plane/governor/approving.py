"""People who approve, and rules that ask for them."""

import pytest

from control_plane.errors import PermissionDenied, PreconditionFailed
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile
from control_plane.model.action import Action
from control_plane.model.identity import Principal
from control_plane.store import actions
from tests.control_plane.world import World, spec

TWO_OPERATORS = """
rules:
  - id: two-people
    when: action.kind == "launch_jobs"
    then: require_approval
    message: two people must look at every launch
    approvals: {count: 2, from: [operator], ttl: 45m}
"""


AN_ADMIN = """
rules:
  - id: an-admin
    when: action.kind == "launch_jobs"
    then: require_approval
    message: an admin must look at every launch
    approvals: {count: 1, from: [admin]}
"""


EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)  # $1,276.80, above the limit of $1,000


def put(world: World, text: str) -> None:
    policies, faults = check([PolicyFile("approvals.yaml", text)])
    assert policies is not None, faults
    world.governor.policies.put(policies)


async def approve(world: World, action: Action, who: Principal, *, hash_: str = "") -> Action:
    return await world.governor.approve(action.id, approver=who, hash=hash_ or action.hash, reason="fits")


async def refusal(world: World, action: Action, who: Principal, *, hash_: str = "") -> str:
    with pytest.raises((PermissionDenied, PreconditionFailed)) as refused:
        await approve(world, action, who, hash_=hash_)
    return refused.value.reason


async def now(world: World, action: Action) -> Action:
    return await world.store.read(lambda tx: actions.require(tx, action.id))
