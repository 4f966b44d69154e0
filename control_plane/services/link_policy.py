"""What hosts may do by themselves while their link is down: signed with the CA's key, renewed before it runs out."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import PreconditionFailed, Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.repair import Rung
from control_plane.store import policies
from control_plane.store.database import Store
from orquanta.v1 import repair_pb2

log = structlog.get_logger()

PREFIX: Final = b"orquanta-local-policy-v1\n"
"""Stands before the signed bytes, so that no other signature of the CA can be taken for one of a policy."""

_CHECK_SECONDS: Final = 60.0
_RENEWALS_IN_A_LIFE: Final = 7


@dataclass(frozen=True, slots=True)
class RungTerms:
    """How often a host may climb a rung by itself within `period`, and whether jobs in its way may be stopped."""

    count: int
    period: timedelta
    may_stop_jobs: bool


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What hosts may do alone: nothing that is not listed, and at most `total_count` repairs within `total_period`.

    `after` is how long the link must be down before, `lifetime` how long a policy is good for.
    """

    rungs: Mapping[Rung, RungTerms]
    total_count: int
    total_period: timedelta
    after: timedelta
    lifetime: timedelta

    def fingerprint(self) -> str:
        """Return what tells these terms from others."""
        rungs = sorted((int(rung), one.count, one.period, one.may_stop_jobs) for rung, one in self.rungs.items())
        return hashlib.sha256(
            repr((rungs, self.total_count, self.total_period, self.after, self.lifetime)).encode()
        ).hexdigest()


class LocalPolicies:
    """Hands out each host's signed policy. `start` it before the links; `run` is part of their loops.

    A version is the fleet's: it grows with every renewal and every change of the terms, and is kept in the store.
    `may_change` tells whether this control plane may put other terms into force: among replicas, the leader.
    """

    def __init__(
        self,
        store: Store,
        terms: PolicyTerms,
        *,
        sign: Callable[[bytes], bytes],
        clock: Clock,
        may_change: Callable[[], bool] = lambda: True,
    ) -> None:
        self._may_change = may_change
        self._store = store
        self._terms = terms
        self._sign = sign
        self._clock = clock
        self._issued: policies.Issue | None = None
        self._signed: dict[NodeId, repair_pb2.SignedPolicy] = {}

    async def start(self) -> None:
        """Take up the version in force, or issue the next one. Raises Unavailable."""
        await self._issue_if_due()

    async def run(self, changed: Callable[[], None]) -> None:
        """Renew policies until cancelled; `changed` is called after each renewal."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                if await self._issue_if_due():
                    changed()
            except Unavailable as error:
                log.warning("policy.waits", why=error.message)

    async def _issue_if_due(self) -> bool:
        fingerprint = self._terms.fingerprint()
        # A fresh one each seventh of a life: a host that was cut off has most of it left.
        renew_before = self._clock.now() - self._terms.lifetime / _RENEWALS_IN_A_LIFE
        issued = await self._store.write(
            partial(policies.issue, terms=fingerprint, renew_before=renew_before, may_change=self._may_change())
        )
        if issued.terms != fingerprint:
            # Another replica leads, with other terms: its word stands, and ours is not signed beside it.
            self._issued = None
            return False
        if issued == self._issued:
            return False
        self._issued = issued
        self._signed.clear()
        log.info("policy.issued", version=issued.version, issued_at=issued.issued_at.isoformat())
        return True

    def signed(self, node_id: NodeId) -> repair_pb2.SignedPolicy | None:
        """Return the node's policy in force; None if there is none, or the CA's key cannot sign one."""
        if self._issued is None:
            return None
        found = self._signed.get(node_id)
        if found is None:
            policy = self._policy(node_id, self._issued).SerializeToString(deterministic=True)
            try:
                signature = self._sign(PREFIX + policy)
            except PreconditionFailed as error:
                log.warning("policy.not_signed", why=error.message)
                self._issued = None
                return None
            found = self._signed[node_id] = repair_pb2.SignedPolicy(policy=policy, signature=signature)
        return found

    def _policy(self, node_id: NodeId, issued: policies.Issue) -> repair_pb2.LocalPolicy:
        terms = self._terms
        made = repair_pb2.LocalPolicy(node_id=node_id, version=issued.version, total_count=terms.total_count)
        made.issued_at.FromDatetime(issued.issued_at)
        made.expires_at.FromDatetime(_expires_at(issued.issued_at, terms))
        made.total_period.FromTimedelta(terms.total_period)
        made.after.FromTimedelta(terms.after)
        for rung, one in sorted(terms.rungs.items()):
            allowance = made.rungs.add(
                rung=repair_pb2.RepairRung.ValueType(int(rung)), count=one.count, may_stop_jobs=one.may_stop_jobs
            )
            allowance.period.FromTimedelta(one.period)
        return made


def _expires_at(issued_at: datetime, terms: PolicyTerms) -> datetime:
    return issued_at + terms.lifetime
