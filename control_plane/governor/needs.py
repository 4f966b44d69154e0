"""Who may approve what. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.model.account import User
from control_plane.model.approval import ApprovalNeed
from control_plane.model.identity import Role

DEFAULT_NEED: Final = ApprovalNeed()
"""One operator within half an hour."""

NOBODY: Final = "nobody"
"""Stands where rules that apply together leave nobody who may approve."""

_ROLES: Final[Mapping[str, Role]] = {role.value: role for role in Role}


def may_approve(need: ApprovalNeed, approver: User) -> bool:
    """Tell whether this account, as it is now, is one of those who may approve."""
    if approver.disabled or not approver.role.allows(Role.OPERATOR):
        return False
    return not need.allowed or any(_is_one_of(entry, approver) for entry in need.allowed)


def who_may(need: ApprovalNeed) -> str:
    """Return who may approve, in words."""
    return " or ".join(need.allowed) or Role.OPERATOR.value


def combined(needs: Iterable[ApprovalNeed]) -> ApprovalNeed | None:
    """Return what several rules ask for together: the most people, each of whom all rules accept, in the least time."""
    together: ApprovalNeed | None = None
    for need in needs:
        if together is None:
            together = need
        else:
            together = ApprovalNeed(
                count=max(together.count, need.count),
                allowed=_both(together.allowed, need.allowed),
                ttl_seconds=min(together.ttl_seconds, need.ttl_seconds),
            )
    return together


def _is_one_of(entry: str, approver: User) -> bool:
    if "@" in entry:
        return entry.lower() == approver.email.lower()
    role = _ROLES.get(entry)
    return role is not None and approver.role.allows(role)


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    if not first or not second:
        return first or second
    found = dict.fromkeys(entry for one in first for other in second if (entry := _narrower(one, other)))
    return tuple(found) or (NOBODY,)


def _narrower(one: str, other: str) -> str:
    """Return who is meant by both entries; empty for nobody. A person stands beside a role as that person."""
    if one.lower() == other.lower():
        return one
    first, second = _ROLES.get(one), _ROLES.get(other)
    if first is not None and second is not None:
        return one if first.allows(second) else other
    if first is None and second is None:
        return ""
    return other if first is not None else one
