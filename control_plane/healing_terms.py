"""What the settings say about repairs and bounds, as the governor, the healing agent and hosts get it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.governor.ruling import Limits
from control_plane.model.bounds import Bound, Bounds, BoundScope
from control_plane.model.freeze import parse
from control_plane.model.repair import Rung
from control_plane.services.link_policy import PolicyTerms, RungTerms
from control_plane.settings import Settings
from control_plane.store import audit
from control_plane.store import bounds as bound_store
from control_plane.store.database import Tx

_DAY: Final = timedelta(days=1)
_NUMBERS: Final = re.compile(r"(?P<most>\d+)\s*,\s*(?P<percent>[\d.]+)\s*%")


def rungs(names: tuple[str, ...]) -> frozenset[Rung]:
    """Return the rungs of these names."""
    return frozenset(Rung[name.upper().replace("-", "_")] for name in names)


def limits(settings: Settings) -> Limits:
    """Return the bounds that the built-in rules hold."""
    name, _, value = settings.protected_label.partition("=")
    return Limits(
        settings.approval_above_usd,
        settings.max_gpus_per_user,
        rungs(settings.repair_approval_rungs),
        (name, value) if name else None,
        tuple(parse("setting", window, "by the setting change_freezes") for window in settings.change_freezes),
        settings.preemptions_max,
        settings.queue_min_runtime_seconds,
    )


def bounds(settings: Settings) -> Bounds:
    """Return how much may be out of service at once."""
    texts = {
        BoundScope.FLEET: settings.out_of_service_fleet,
        BoundScope.POOL: settings.out_of_service_pool,
        BoundScope.RACK: settings.out_of_service_rack,
        BoundScope.JOB: settings.out_of_service_job,
        BoundScope.TENANT: settings.out_of_service_tenant,
    }
    return {scope: _bound(text) for scope, text in texts.items()}


def _bound(text: str) -> Bound:
    match = _NUMBERS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no bound")  # the settings have refused it already
    return Bound(int(match["most"]), float(match["percent"]))


def put_into_force(tx: Tx, wanted: Bounds) -> None:
    """Write the bounds where every decision reads them, with a record if they are others than before."""
    if bound_store.save(tx, wanted, changed_by="settings"):
        audit.append(
            tx,
            agent_name="settings",
            action="bounds.changed",
            reasoning="the settings of this control plane",
            outcome="done",
            payload={scope.value: f"{bound.most}, {bound.percent:g} %" for scope, bound in wanted.items()},
        )


def healing_policy(settings: Settings) -> HealingPolicy:
    """Return how the healing agent goes about it."""
    return replace(
        HealingPolicy(),
        automatic=settings.automatic_repair,
        rungs=rungs(settings.repair_rungs),
        settle_seconds=settings.repair_settle_seconds,
        flaps=settings.repair_flaps,
        flap_seconds=settings.repair_flap_seconds,
        refused_seconds=settings.repair_refused_seconds,
        drain_seconds=settings.repair_drain_seconds,
    )


def local_terms(settings: Settings) -> PolicyTerms:
    """Return what hosts may do alone."""
    allowed: Mapping[Rung, RungTerms] = {
        rung: RungTerms(count, _DAY, may_stop_jobs=settings.local_repairs_stop_jobs)
        for rung, count in _counts(settings.local_repairs).items()
    }
    return PolicyTerms(
        rungs=allowed,
        total_count=settings.local_repairs_per_day,
        total_period=_DAY,
        after=timedelta(seconds=settings.local_repair_after_seconds),
        lifetime=timedelta(days=settings.local_policy_days),
    )


def _counts(texts: tuple[str, ...]) -> dict[Rung, int]:
    counts: dict[Rung, int] = {}
    for text in texts:
        name, _, number = text.partition(":")
        (rung,) = rungs((name.strip(),))
        counts[rung] = int(number)
    return counts
