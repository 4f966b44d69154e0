"""What several rules ask for together, and who is one of those who may approve."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from control_plane.governor.needs import NOBODY, combined, may_approve, who_may
from control_plane.model.account import User
from control_plane.model.approval import ApprovalNeed
from control_plane.model.identity import Role
from control_plane.model.ids import derived_user_id

OLGA = User(
    id=derived_user_id("olga"),
    email="olga@example.com",
    role=Role.OPERATOR,
    disabled=False,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    budget_usd=None,
    spent_usd=Decimal(0),
    reserved_usd=Decimal(0),
    max_gpus=None,
)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ((), (), ()),
        ((), ("admin",), ("admin",)),
        (("operator",), ("admin",), ("admin",)),
        (("operator",), ("olga@example.com",), ("olga@example.com",)),
        (("olga@example.com", "otto@example.com"), ("Otto@example.com",), ("otto@example.com",)),
        (("olga@example.com",), ("otto@example.com",), (NOBODY,)),
    ],
    ids=["anybody", "one names", "the higher role", "a person of the role", "the common person", "nobody"],
)
def test_rules_together_leave_those_whom_all_accept(
    first: tuple[str, ...], second: tuple[str, ...], together: tuple[str, ...]
) -> None:
    found = combined([ApprovalNeed(1, first, 1800), ApprovalNeed(3, second, 600)])
    assert found == ApprovalNeed(3, together, 600)


def test_no_rule_needs_nothing() -> None:
    assert combined([]) is None


def test_a_named_person_needs_the_role_operator_still() -> None:
    need = ApprovalNeed(allowed=("olga@example.com",))
    assert may_approve(need, OLGA)
    assert not may_approve(need, replace(OLGA, role=Role.USER))
    assert not may_approve(need, replace(OLGA, disabled=True))


def test_a_higher_role_is_one_of_the_lower() -> None:
    assert may_approve(ApprovalNeed(allowed=("operator",)), replace(OLGA, role=Role.ADMIN))
    assert not may_approve(ApprovalNeed(allowed=("admin",)), OLGA)
    assert not may_approve(ApprovalNeed(allowed=(NOBODY,)), replace(OLGA, role=Role.ADMIN))


def test_who_may_approve_is_said_in_words() -> None:
    assert who_may(ApprovalNeed()) == "operator"
    assert who_may(ApprovalNeed(allowed=("admin", "olga@example.com"))) == "admin or olga@example.com"
