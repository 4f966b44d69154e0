"""How long each phase of an incident took. Pure arithmetic on times."""

from datetime import datetime, timedelta

from control_plane.model.incident import Incident, IncidentTimings


def timings(of: Incident) -> IncidentTimings:
    """Return the timings of an incident with its repairs. `observed_at` is by its host's clock, perhaps ahead."""
    done = [repair for repair in of.repairs if repair.sent_at is not None and not repair.dry_run]
    repairing = [_seconds(one.sent_at, one.verifying_at or one.closed_at) for one in done]
    verifying = [_seconds(one.verifying_at, one.closed_at) for one in done]
    return IncidentTimings(
        detect_seconds=_seconds(of.observed_at, of.opened_at),
        cordon_seconds=_seconds(of.opened_at, of.cordoned_at),
        drain_seconds=_seconds(of.cordoned_at, of.drained_at),
        repair_seconds=_total(repairing),
        verify_seconds=_total(verifying),
        total_seconds=_seconds(of.observed_at, of.closed_at),
    )


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return max(0.0, (until - since) / timedelta(seconds=1))


def _total(spans: list[float | None]) -> float | None:
    known = [span for span in spans if span is not None]
    return sum(known) if known else None
