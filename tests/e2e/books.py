"""What the books of a control plane say, to compare before and after."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from orquanta.client import AsyncClient
from orquanta.types.nodes import NodeState

Facts = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Books:
    """Everything that a call can change, and the audit without its records of refusals."""

    goals: Facts
    jobs: Facts
    nodes: Facts
    actions: Facts
    users: Facts
    tokens: Facts
    keys: Facts
    effects: Facts
    stopped: bool


async def read_books(admin: AsyncClient) -> Books:
    """Read all of it; the client must be an administrator's."""
    return Books(
        goals=frozenset([(one.id, one.state.value) async for one in admin.goals.list()]),
        jobs=frozenset([(one.id, one.state.value, str(one.epoch)) async for one in admin.jobs.list()]),
        nodes=frozenset(
            [
                (one.id, one.name, _LIKE.get(one.state, one.state).value)
                async for one in admin.nodes.list(states=_STATES)
            ]
        ),
        actions=frozenset([(one.id, one.state.value) async for one in admin.actions.list()]),
        users=frozenset([(one.id, one.role.value, str(one.disabled)) async for one in admin.auth.list_users()]),
        tokens=frozenset(
            [(one.id, str(one.used_at), str(one.revoked_at)) async for one in admin.nodes.list_join_tokens()]
        ),
        keys=frozenset([(one.id, str(one.revoked_at)) async for one in admin.auth.list_api_keys()]),
        effects=frozenset(
            [
                (str(one.id), one.action, one.outcome)
                async for one in admin.audit.list()
                if one.outcome != "refused" and one.action not in _BY_ITSELF
            ]
        ),
        stopped=(await admin.actions.kill_switch()).engaged,
    )


@asynccontextmanager
async def nothing_changes(admin: AsyncClient) -> AsyncIterator[None]:
    """Assert that the books say the same after the block as before it."""
    before = await read_books(admin)
    yield
    after = await read_books(admin)
    changed = [one.name for one in fields(Books) if getattr(after, one.name) != getattr(before, one.name)]
    told = [f"{name}: {getattr(before, name)} became {getattr(after, name)}" for name in changed]
    assert not changed, "; ".join(told)


# On a machine that stands still for longer than these short leases, a host is lost by itself, and comes back. And a
# goal's run tells a moment after a question, a decision or an end that it waits, goes on, or is over.
_BY_ITSELF = {
    "node.lost",
    "node.ready",
    "run.waiting",
    "run.resumed",
    "run.finished",
    "approval.decided",
    "diagnosis",
}
_LIKE = {NodeState.LOST: NodeState.READY}
_STATES = tuple(state for state in NodeState if state is not NodeState.UNKNOWN)
