"""Who holds which GPU, MIG device or part of a GPU."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from sqlalchemy import ColumnElement, case, delete, func, or_, select, text
from sqlalchemy import update as sql_update
from sqlmodel import col

from control_plane.fleet.cost import mig_share
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import WHOLE_GPU_MILLI
from control_plane.model.node import MigDevice
from control_plane.store import teams
from control_plane.store.database import Tx
from control_plane.store.readable import json_text
from control_plane.store.tables import AllocationRow, GpuHoldRow, GpuUsageRow, JobRow


@dataclass(frozen=True, slots=True)
class GpuHold:
    """Who holds a GPU or a MIG device, and how much of it, in thousandths."""

    gpu_uuid: str
    node_id: NodeId
    allocation_id: AllocationId
    job_id: JobId
    user_id: UserId
    team: str = ""
    milli: int = WHOLE_GPU_MILLI


class Divisible(Protocol):
    """What must be known of a GPU to tell how much of it is held."""

    @property
    def uuid(self) -> str:
        """Its UUID."""
        ...

    @property
    def gpu_type(self) -> str:
        """Its model."""
        ...

    @property
    def mig_devices(self) -> tuple[MigDevice, ...]:
        """The MIG devices on it."""
        ...


Holders = Mapping[str, tuple[GpuHold, ...]]
"""Everybody who holds a GPU, a part of it or a MIG device on it, by the GPU's UUID."""

_TAKE = text(
    "INSERT INTO gpu_usage (gpu_uuid, used_milli) VALUES (:gpu_uuid, :milli) "
    "ON CONFLICT (gpu_uuid) DO UPDATE SET used_milli = gpu_usage.used_milli + excluded.used_milli"
)


def take(tx: Tx, hold: GpuHold, *, parent_uuid: str = "") -> None:
    """Record a hold; `parent_uuid` is the GPU that a MIG device is on.

    One statement counts what is used, so two writers cannot both find it free: more than there is raises the
    database's own error.
    """
    tx.session.execute(_TAKE, {"gpu_uuid": hold.gpu_uuid, "milli": hold.milli})
    tx.session.add(
        GpuHoldRow(
            gpu_uuid=hold.gpu_uuid,
            allocation_id=hold.allocation_id,
            node_id=hold.node_id,
            job_id=hold.job_id,
            user_id=hold.user_id,
            team=hold.team,
            parent_uuid=parent_uuid,
            milli=hold.milli,
        )
    )


def free(tx: Tx, allocation_id: AllocationId, gpu_uuids: Collection[str]) -> None:
    """Give back what an attempt holds of these GPUs."""
    held = select(GpuHoldRow).where(
        col(GpuHoldRow.allocation_id) == allocation_id, col(GpuHoldRow.gpu_uuid).in_(gpu_uuids)
    )
    usage = col(GpuUsageRow.used_milli)
    for row in tx.session.execute(held).scalars().all():
        here = col(GpuUsageRow.gpu_uuid) == row.gpu_uuid
        tx.session.execute(sql_update(GpuUsageRow).where(here).values(used_milli=usage - row.milli))
        tx.session.execute(delete(GpuUsageRow).where(here, usage == 0))
        tx.session.delete(row)
    tx.session.flush()


def holds(tx: Tx, *, node_id: NodeId | None = None) -> dict[str, GpuHold]:
    """Return a holder of each GPU of which anything is held, by GPU UUID, on one node or on all.

    Of those who share a GPU it is the first; see `holders` for all of them.
    """
    return {gpu_uuid: found[0] for gpu_uuid, found in holders(tx, node_id=node_id).items()}


def holders(tx: Tx, *, node_id: NodeId | None = None) -> dict[str, tuple[GpuHold, ...]]:
    """Return everybody who holds anything of each GPU, in the order of allocation ids, on one node or on all."""
    found: dict[str, list[GpuHold]] = {}
    for row in _hold_rows(tx, node_id):
        found.setdefault(row.parent_uuid or row.gpu_uuid, []).append(_hold(row))
    return {gpu_uuid: tuple(sorted(held, key=lambda hold: hold.allocation_id)) for gpu_uuid, held in found.items()}


def share_milli(gpu: Divisible, hold: GpuHold) -> int:
    """Return how much of the GPU a hold is, in thousandths; a MIG device by its compute slices, all if unknown."""
    if hold.gpu_uuid == gpu.uuid:
        return hold.milli
    profile = next((one.profile for one in gpu.mig_devices if one.uuid == hold.gpu_uuid), "")
    return round(device_share(profile, gpu.gpu_type) * WHOLE_GPU_MILLI)


def device_share(profile: str, gpu_type: str) -> Decimal:
    """Return how much of its GPU a MIG device is, all of it if the name of its profile tells no slices."""
    try:
        return mig_share(profile, gpu_type)
    except ValueError:
        return Decimal(1)


def used_milli(gpu: Divisible, held: Iterable[GpuHold]) -> int:
    """Return how much of the GPU is held in all, in thousandths."""
    return min(WHOLE_GPU_MILLI, sum(share_milli(gpu, hold) for hold in held))


def parts(tx: Tx, node_id: NodeId) -> dict[str, tuple[GpuHold, ...]]:
    """Return everybody who holds a part of a GPU of the node, by the UUID of the GPU or MIG device."""
    found: dict[str, tuple[GpuHold, ...]] = {}
    for row in _hold_rows(tx, node_id):
        found[row.gpu_uuid] = (*found.get(row.gpu_uuid, ()), _hold(row))
    return found


def _hold_rows(tx: Tx, node_id: NodeId | None) -> Iterable[GpuHoldRow]:
    query = select(GpuHoldRow).order_by(col(GpuHoldRow.gpu_uuid), col(GpuHoldRow.allocation_id))
    if node_id is not None:
        query = query.where(col(GpuHoldRow.node_id) == node_id)
    return tx.session.execute(query).scalars()


def _hold(row: GpuHoldRow) -> GpuHold:
    return GpuHold(
        row.gpu_uuid,
        NodeId(row.node_id),
        AllocationId(row.allocation_id),
        JobId(row.job_id),
        UserId(row.user_id),
        row.team,
        row.milli,
    )


def held_by_type(tx: Tx) -> dict[str, float]:
    """Return how many GPUs of each model are held; parts count as parts, MIG devices by their compute slices."""
    gpu_type, is_device = col(AllocationRow.gpu_type), col(GpuHoldRow.parent_uuid) != ""
    held = select(gpu_type, func.sum(col(GpuHoldRow.milli))).join(
        AllocationRow, col(AllocationRow.id) == col(GpuHoldRow.allocation_id)
    )
    found: Counter[str] = Counter()
    for model, milli in tx.session.execute(held.where(~is_device).group_by(gpu_type)):
        found[model] += int(milli)
    profile = json_text(tx, col(JobRow.spec), "resources", "mig_profile")
    devices = held.add_columns(profile).join(JobRow, col(JobRow.id) == col(GpuHoldRow.job_id))
    for model, milli, which in tx.session.execute(devices.where(is_device).group_by(gpu_type, profile)):
        found[model] += round(int(milli) * device_share(which or "", model))
    return {model: milli / WHOLE_GPU_MILLI for model, milli in found.items()}


def occupied_by_type(tx: Tx) -> dict[str, int]:
    """Return of how many GPUs of each model anything is held, be it a part or a MIG device."""
    gpu = case((col(GpuHoldRow.parent_uuid) != "", col(GpuHoldRow.parent_uuid)), else_=col(GpuHoldRow.gpu_uuid))
    query = (
        select(col(AllocationRow.gpu_type), func.count(gpu.distinct()))
        .join(AllocationRow, col(AllocationRow.id) == col(GpuHoldRow.allocation_id))
        .group_by(col(AllocationRow.gpu_type))
    )
    return {gpu_type: int(count) for gpu_type, count in tx.session.execute(query)}


def held_by_user(tx: Tx, user_id: UserId) -> float:
    """Return how many GPUs the user's jobs hold now; parts count as parts, MIG devices as one each."""
    return _held(tx, col(GpuHoldRow.user_id) == user_id)


def held_by_team(tx: Tx, path: str) -> float:
    """Return how many GPUs jobs of the team and of the teams in it hold now, counted in the same way."""
    return _held(tx, or_(col(GpuHoldRow.team) == path, teams.inside(col(GpuHoldRow.team), path)))


def _held(tx: Tx, whose: ColumnElement[bool]) -> float:
    query = select(func.coalesce(func.sum(col(GpuHoldRow.milli)), 0)).where(whose)
    return int(tx.session.execute(query).scalar_one()) / WHOLE_GPU_MILLI
