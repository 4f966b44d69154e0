"""Where a telemetry sample goes: to the health engine, then over NATS or into a roll-up."""

from collections.abc import Callable

from node_agent.clock import Clock
from node_agent.convert import to_telemetry
from node_agent.link.broker import Broker
from node_agent.parts.desk import HealthDesk
from node_agent.parts.rollup import Rollup
from node_agent.probe.dcgm.merge import Filler
from node_agent.probe.dcgm.reading import DcgmReading
from node_agent.probe.samples import TelemetryBatch
from node_agent.spool.spool import Spool

_SHORTEST_ROLLUP_SECONDS = 10.0


class TelemetryFlow:
    """Takes samples from the sampler and readings from DCGM."""

    def __init__(
        self,
        desk: HealthDesk,
        broker: Broker,
        spool: Spool,
        clock: Clock,
        *,
        wanted: Callable[[], bool],
    ) -> None:
        """`wanted` says whether the control plane would take telemetry, were NATS there."""
        self._desk = desk
        self._broker = broker
        self._spool = spool
        self._clock = clock
        self._wanted = wanted
        self._dcgm: Filler | None = None
        self._rollup: Rollup | None = None
        self.newest: TelemetryBatch | None = None
        """The last sample, with what DCGM added."""
        self.newest_at_seconds = 0.0
        """When it was taken, on the monotonic clock."""
        self.rolled_up = 0
        """Samples that went into roll-ups."""

    async def deliver(self, sampled: TelemetryBatch) -> None:
        """Take one sample."""
        batch = sampled if self._dcgm is None else self._dcgm.fill(sampled)
        self.newest, self.newest_at_seconds = batch, self._clock.monotonic()
        await self._desk.observe((batch,))
        if self._broker.connected:
            await self._end_rollup()
            await self._broker.publish_telemetry(to_telemetry(batch).SerializeToString())
        elif self._wanted():
            await self._roll_up(batch)
        else:
            self._broker.counts.telemetry_dropped += 1

    async def take_dcgm(self, reading: DcgmReading) -> None:
        """Take what a DCGM exporter shows."""
        if reading.gpus:
            self._dcgm = Filler(reading)
        await self._desk.observe((*reading.reports, *(() if reading.stall is None else (reading.stall,))))

    async def _roll_up(self, batch: TelemetryBatch) -> None:
        now_seconds = self._clock.monotonic()
        if self._rollup is not None and self._rollup.is_due(now_seconds):
            await self._store_rollup(self._rollup)
        if self._rollup is None:
            self._rollup = Rollup(batch.sampled_at, now_seconds)
        self._rollup.add(batch)
        self.rolled_up += 1

    async def _end_rollup(self) -> None:
        """NATS is back. What a connection that was made anew left out is not worth a record in the books."""
        if self._rollup is None:
            return
        if self._clock.monotonic() - self._rollup.began_seconds >= _SHORTEST_ROLLUP_SECONDS:
            await self._store_rollup(self._rollup)
        else:
            self._broker.counts.telemetry_dropped += self._rollup.samples
            self.rolled_up -= self._rollup.samples
            self._rollup = None

    async def _store_rollup(self, rollup: Rollup) -> None:
        self._rollup = None
        await self._spool.append(rollup.to_record())
