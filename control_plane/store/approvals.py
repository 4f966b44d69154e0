"""Approvals in the database: at most one of each person for each action."""

from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.approval import Approval
from control_plane.model.ids import ActionId, GrantId, UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.store.approval_tables import ApprovalRow
from control_plane.store.database import Tx
from control_plane.store.pages import batched


def _model(row: ApprovalRow) -> Approval:
    return Approval(
        user_id=UserId(row.user_id),
        approver=row.approver,
        hash=row.hash,
        policy_version=row.policy_version,
        estimate_usd=from_micros(row.estimate_usd_micros),
        reason=row.reason,
        approved_at=row.approved_at,
        grant_id=None if row.grant_id is None else GrantId(row.grant_id),
    )


def of(tx: Tx, action_ids: Iterable[ActionId]) -> Mapping[ActionId, tuple[Approval, ...]]:
    """Return the approvals that count of each action that has some, oldest first."""
    given: dict[ActionId, tuple[Approval, ...]] = {}
    for batch in batched(action_ids):
        query = select(ApprovalRow).where(col(ApprovalRow.action_id).in_(batch), col(ApprovalRow.void_reason) == "")
        for row in tx.session.execute(query.order_by(col(ApprovalRow.approved_at), col(ApprovalRow.user_id))).scalars():
            key = ActionId(row.action_id)
            given[key] = (*given.get(key, ()), _model(row))
    return given


def put(tx: Tx, action_id: ActionId, approval: Approval) -> None:
    """Record a person's approval, in place of an earlier one of theirs that was voided."""
    earlier = tx.session.get(ApprovalRow, (action_id, approval.user_id))
    if earlier is not None:
        tx.session.delete(earlier)
        tx.session.flush()
    tx.session.add(
        ApprovalRow(
            action_id=action_id,
            user_id=approval.user_id,
            approver=approval.approver,
            hash=approval.hash,
            policy_version=approval.policy_version,
            estimate_usd_micros=to_micros(approval.estimate_usd),
            reason=approval.reason,
            approved_at=approval.approved_at,
            grant_id=approval.grant_id,
        )
    )
    tx.session.flush()


def void(tx: Tx, action_id: ActionId, user_id: UserId, reason: str) -> None:
    """Let a person's approval count no more; nothing if they have not approved."""
    row = tx.session.get(ApprovalRow, (action_id, user_id))
    if row is not None:
        row.void_reason = reason
        tx.session.add(row)
        tx.session.flush()
