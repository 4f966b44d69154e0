"""One virtual host, as its control plane sees it: no I/O, no clock of its own, everything drawn from a seed.

What it has to say while it is linked is put into `said`, in order; who carries it to the control plane empties that.
What it prints is in `printed`. Without a link nothing is said: the next Hello holds the whole state, as a daemon's.
"""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from orquanta.v1 import health_pb2, job_pb2, node_link_pb2, repair_pb2
from simulator.body import Body
from simulator.counts import HostCounts, Latencies
from simulator.draws import dice_of
from simulator.faults import Fault
from simulator.journal import NO_JOURNAL, Happening, Journal, Recalled
from simulator.members import DONE_MAX, JobTerms, Line, Members
from simulator.models import GpuModel
from simulator.repairs import Repairs, RepairTerms
from simulator.spool import Spool
from simulator.stamps import seconds_of, stamp

_PRINTED_MAX: Final = 200
_NEVER: Final = float("inf")
_REBOOT: Final = repair_pb2.REPAIR_RUNG_REBOOT_HOST


@dataclass(slots=True)
class Terms:
    """What a host is and how things go on it."""

    model: GpuModel
    gpus: int
    jobs: JobTerms
    repairs: RepairTerms
    seed: int = 0


@dataclass(slots=True)
class _Trouble:
    condition: health_pb2.Condition
    over_at: float


@dataclass(slots=True)
class VirtualHost:
    """A host with an identity. `now` is always seconds since the epoch, and never goes back."""

    index: int
    name: str
    node_id: str
    terms: Terms
    counts: HostCounts
    latencies: Latencies
    began_at: float
    journal: Journal = NO_JOURNAL
    said: list[node_link_pb2.ConnectRequest] = field(default_factory=list)
    printed: deque[Line] = field(default_factory=lambda: deque(maxlen=_PRINTED_MAX))
    epoch: int = 0
    """The highest control epoch obeyed."""
    body: Body = field(init=False)
    members: Members = field(init=False)
    repairs: Repairs = field(init=False)
    fence_at: float = _NEVER
    linked: bool = False
    _thrown: random.Random | None = None
    """Its dice, 2.5 KB: made when they are first thrown."""
    _boots: int = 0
    _troubles: dict[str, _Trouble] = field(default_factory=dict)
    _spool: Spool = field(default_factory=Spool)
    _busy: set[str] = field(default_factory=set)
    _lost_gpus: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.body = Body(self.name, self.node_id, self.terms.model, self.terms.gpus)
        self.members = Members(self.terms.jobs)
        self.repairs = Repairs(self.terms.repairs)

    @property
    def _dice(self) -> random.Random:
        if self._thrown is None:
            self._thrown = dice_of(self.terms.seed, self.name)
        return self._thrown

    @property
    def spool_id(self) -> str:
        """The spool that its records come from: another one in each run."""
        return f"sim-{int(self.began_at * 1000):x}"

    @property
    def due_at(self) -> float:
        """When something happens to it next by itself."""
        over = min((trouble.over_at for trouble in self._troubles.values()), default=_NEVER)
        return min(over, self.members.due_at(), self.repairs.step_at, self.fence_at)

    def hello(self, now: float) -> node_link_pb2.Hello:
        """Return its full state. What waited to be said is in it."""
        self.unlink()
        made = node_link_pb2.Hello(
            inventory=self.body.inventory(f"boot-{self.node_id}-{self._boots}-{int(self.began_at)}", self.index),
            members=[member.report() for member in self.members.known.values()],
            host_time=stamp(now),
            control_epoch=self.epoch,
            conditions=[trouble.condition for trouble in self._troubles.values()],
            repair=self.repairs.current,
            spool_id=self.spool_id,
        )
        self.linked = True
        self._tell_loss(now)
        self._send_spool()
        return made

    def recall(self, known: Recalled) -> None:
        """Take over what the host knows of its life before it went down."""
        self.epoch = known.epoch
        self.members.known.update(known.members)
        self.members.done.update(list(known.done.items())[-DONE_MAX:])
        for member in known.members.values():
            self.journal.note_member(Happening.ENDED, self.node_id, member)

    def acknowledge(self, allocation_id: str, rank: int) -> None:
        """Forget a member whose end is in the books."""
        member = self.members.acknowledge(allocation_id, rank)
        if member is not None:
            self.journal.note_member(Happening.FORGOTTEN, self.node_id, member)

    def unlink(self) -> None:
        """Take note that nobody listens any more."""
        self.said.clear()
        self.linked = False
        self._spool.rewind()

    def admit(self, epoch: int) -> bool:
        """Tell whether orders of a control plane of this epoch are to be obeyed; those of an older one are not."""
        if epoch < self.epoch:
            self.counts.orders_refused += 1
            return False
        self.epoch = epoch
        return True

    def obey(self, order: node_link_pb2.DesiredState, now: float) -> None:
        """Do what the control plane wants."""
        if not self.admit(order.control_epoch):
            return
        for member in self.members.converge(order.members, now):
            if member.state == job_pb2.ALLOCATION_STATE_STARTING:
                self.counts.members_started += 1
                self.journal.note_member(Happening.TAKEN, self.node_id, member)
            self._say(member_report=member.report())
        if order.HasField("repair"):
            report = self.repairs.take(order.repair, now)
            if report is not None:
                self.counts.repairs_taken += 1
                self._note_order(order.repair, now)
                self._say(repair_report=report)
                if not self.repairs.active:
                    self._record(now, repair_report=report)
        for word in order.condition_orders:
            trouble = self._troubles.get(word.condition_id)
            if (
                word.clear
                and trouble is not None
                and seconds_of(trouble.condition.first_seen_at) <= seconds_of(word.at)
            ):
                self._clear(word.condition_id, now, f"cleared by {word.by}")

    def advance(self, now: float) -> None:
        """Let time pass."""
        if self.fence_at <= now:
            self.fence_at = _NEVER
            self.members.end_now(now, job_pb2.EXIT_REASON_FENCED, "out of contact for longer than the fence")
        changed, lines = self.members.advance(now)
        for member in changed:
            what = Happening.ENDED if member.ended else Happening.BEGAN
            self.journal.note_member(what, self.node_id, member)
            self._count_end(member.exit_reason, member.exit_code, ended=member.ended)
            self._say(member_report=member.report())
        if changed:
            self._busy = self.members.busy_gpus()
        self.printed.extend(lines)
        for condition_id in [one for one, trouble in self._troubles.items() if trouble.over_at <= now]:
            self._clear(condition_id, now, "it has not come back for a while")
        self._advance_repair(now)

    def strike(self, fault: Fault, now: float) -> str:
        """Break one of its GPUs; return the condition's id."""
        self.counts.faults += 1
        place = self._dice.randrange(len(self.body.uuids))
        uuid = self.body.uuids[place]
        condition_id = f"gpu/{uuid}/xid-{fault.code}"
        known = self._troubles.get(condition_id)
        kind = health_pb2.HEALTH_EVENT_KIND_RAISED if known is None else health_pb2.HEALTH_EVENT_KIND_CHANGED
        condition = health_pb2.Condition() if known is None else known.condition
        pci = self.body.pci_bus_id(place)
        evidence = health_pb2.ConditionEvidence(
            id=f"k-{self._spool.sequence + 1}",
            source=health_pb2.EVIDENCE_SOURCE_KERNEL,
            text=f"NVRM: Xid (PCI:{pci[4:-2].lower()}): {fault.code}, {fault.line}",
            observed_at=stamp(now),
        )
        if known is None:
            condition.MergeFrom(_condition(condition_id, uuid, pci, fault, now))
        condition.count += 1
        condition.last_seen_at.CopyFrom(stamp(now))
        del condition.evidence[1:]
        condition.evidence.append(evidence)
        over_at = now + fault.lasts_seconds if fault.lasts_seconds else _NEVER
        self._troubles[condition_id] = _Trouble(condition, over_at)
        self._tell(kind, condition, now, "")
        if fault.is_fatal:
            self._lost_gpus |= {uuid} if fault.cure == _REBOOT else set()
            self.members.end_now(now, job_pb2.EXIT_REASON_SIGNALED, f"CUDA error: XID {fault.code}", gpus=(uuid,))
        return condition_id

    def acknowledge_spool(self, ack: node_link_pb2.SpoolAck, now: float) -> None:
        """Forget the records that are in the books."""
        if ack.spool_id == self.spool_id:
            for record in self._spool.acknowledge(ack.sequence):
                self.latencies.told.append((now - seconds_of(record.recorded_at)) * 1000)

    def telemetry(self, now: float) -> bytes:
        """Return a serialized TelemetryBatch of this moment."""
        return self.body.sample(now, self._busy, self._lost_gpus, self._dice)

    def ends(self) -> list[node_link_pb2.MemberReport]:
        """Return the reports of members whose end was not acknowledged."""
        return [member.report() for member in self.members.known.values() if member.ended]

    def _note_order(self, order: repair_pb2.RepairOrder, now: float) -> None:
        found = [self._troubles[one] for one in order.condition_ids if one in self._troubles]
        if found:
            began = min(seconds_of(trouble.condition.first_seen_at) for trouble in found)
            self.latencies.ordered.append((now - began) * 1000)

    def _advance_repair(self, now: float) -> None:
        rung = repair_pb2.REPAIR_RUNG_UNSPECIFIED if self.repairs.current is None else self.repairs.current.rung
        wrong = [one for one, trouble in self._troubles.items() if not _cures(rung, trouble.condition)]
        was_away = self.repairs.reboots
        report = self.repairs.advance(now, wrong)
        if report is None:
            return
        if was_away:
            self._boots += 1
            self.members.end_now(now, job_pb2.EXIT_REASON_SUPERVISOR_LOST, "the host was booted")
        if not self.repairs.active:
            succeeded = report.state == repair_pb2.REPAIR_STATE_SUCCEEDED
            self.counts.repairs_succeeded += succeeded
            self.counts.repairs_failed += not succeeded
            if succeeded and not report.dry_run:
                for one in [one for one, trouble in self._troubles.items() if _cures(rung, trouble.condition)]:
                    self._clear(one, now, "repaired, and tested under load")
            self._record(now, repair_report=report)
        self._say(repair_report=report)

    def _clear(self, condition_id: str, now: float, reason: str) -> None:
        trouble = self._troubles.pop(condition_id)
        self.counts.cleared += 1
        self._lost_gpus.discard(trouble.condition.gpu_uuid)
        self._tell(health_pb2.HEALTH_EVENT_KIND_CLEARED, trouble.condition, now, reason)

    def _tell(
        self, kind: health_pb2.HealthEventKind.ValueType, condition: health_pb2.Condition, now: float, reason: str
    ) -> None:
        event = health_pb2.HealthEvent(
            id=f"{self.node_id}-{int(self.began_at)}-{self._spool.sequence + 1}",
            kind=kind,
            condition=condition,
            occurred_at=stamp(now),
            reason=reason,
        )
        self._record(now, health_event=event)

    def _record(
        self, now: float, **content: health_pb2.HealthEvent | repair_pb2.RepairReport | node_link_pb2.SpoolLoss
    ) -> None:
        self.counts.spool_lost += self._spool.add(now, **content)
        self._send_spool()

    def _tell_loss(self, now: float) -> None:
        """Say how many records were given up, if any were."""
        lost, self._spool.lost = self._spool.lost, 0
        if lost:
            self._record(now, loss=node_link_pb2.SpoolLoss(records=lost, reason="the simulated spool was full"))

    def _send_spool(self) -> None:
        if self.linked:
            for records in self._spool.unsent():
                self._say(spool=node_link_pb2.SpoolBatch(spool_id=self.spool_id, records=records))

    def _count_end(self, reason: job_pb2.ExitReason.ValueType, exit_code: int | None, *, ended: bool) -> None:
        if ended:
            self.counts.members_succeeded += exit_code == 0
            self.counts.members_stopped += reason == job_pb2.EXIT_REASON_STOPPED
            self.counts.members_failed += exit_code != 0 and reason != job_pb2.EXIT_REASON_STOPPED

    def _say(self, **message: object) -> None:
        if self.linked:
            self.said.append(node_link_pb2.ConnectRequest(**message))  # type: ignore[arg-type] # one message, by its field's name


def _condition(condition_id: str, uuid: str, pci: str, fault: Fault, now: float) -> health_pb2.Condition:
    return health_pb2.Condition(
        id=condition_id,
        scope=health_pb2.CONDITION_SCOPE_GPU,
        subject=uuid,
        kind="XID",
        code=fault.code,
        severity=fault.severity,
        summary=f"XID {fault.code}: {fault.summary}",
        gpu_uuid=uuid,
        pci_bus_id=pci,
        repair=fault.cure,
        authority=health_pb2.AUTHORITY_CATALOGUE if fault.cure else health_pb2.AUTHORITY_UNSPECIFIED,
        vendor_action=fault.vendor_action,
        sticky=not fault.lasts_seconds,
        first_seen_at=stamp(now),
    )


def _cures(rung: repair_pb2.RepairRung.ValueType, condition: health_pb2.Condition) -> bool:
    """Tell whether a repair of this rung ends a condition: the ladder's rungs from the gentlest that fits on."""
    asked = condition.repair
    return bool(asked) and asked <= rung <= _REBOOT
