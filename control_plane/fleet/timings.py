"""How long each phase of an incident took. Pure arithmetic on times."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from control_plane.model.incident import IncidentTimings
from control_plane.model.repair import Repair


def timings(
    *,
    observed_at: datetime,
    opened_at: datetime,
    cordoned_at: datetime | None,
    drained_at: datetime | None,
    closed_at: datetime | None,
    repairs: Iterable[Repair],
) -> IncidentTimings:
    """Return the timings of an incident. `observed_at` is by the host's clock, which may be a little ahead."""
    done = [repair for repair in repairs if repair.sent_at is not None and not repair.dry_run]
    repairing = [_seconds(one.sent_at, one.verifying_at or one.closed_at) for one in done]
    verifying = [_seconds(one.verifying_at, one.closed_at) for one in done]
    return IncidentTimings(
        detect_seconds=_seconds(observed_at, opened_at),
        cordon_seconds=_seconds(opened_at, cordoned_at),
        drain_seconds=_seconds(cordoned_at, drained_at),
        repair_seconds=_total(repairing),
        verify_seconds=_total(verifying),
        total_seconds=_seconds(observed_at, closed_at),
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return max(0.0, (until - since) / timedelta(seconds=1))


def _total(spans: list[float | None]) -> float | None:
    known = [span for span in spans if span is not None]
    return sum(known) if known else None
