"""Keeps a probe process at work: asks it with deadlines, kills it when it hangs, starts it again.

A hang is told as `ProbeStall`; the daemon itself never waits longer than a deadline, and its loop never blocks.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

import structlog

from node_agent.clock import Clock
from node_agent.probe import child_process
from node_agent.probe.child_process import ProbeEnded, ProbeProcess, RequestFailed, VirtualGpuSettings, describe_exit
from node_agent.probe.deadlines import Deadlines
from node_agent.probe.errors import BadVirtualGpus, GpusHeld, ProbeAway
from node_agent.probe.inventory import NvmlInventory
from node_agent.probe.observations import NvmlXid, ProbeStall
from node_agent.probe.samples import NvmlReading
from node_agent.probe.stats import ProbeStats
from node_agent.probe.wire import BadValue, rebuild

log = structlog.get_logger()

MAXIMUM_STUCK: Final = 2
"""Probes that the kernel does not let go of; with so many, none is started until one is gone."""
_DEATHS_THAT_TELL: Final = 3
_PROBE: Final = "nvml"
_OPENS: Final = "inventory"
"""The request that opens the driver, and must not while the GPUs are let go of."""
_REFUSED: Final = "bad_fault"
_CLOSE_SECONDS: Final = 5.0
_MAXIMUM_XID: Final = 0xFFFFFFFF
_T = TypeVar("_T")

Observe = Callable[[ProbeStall | NvmlXid], None]
Spawn = Callable[
    [VirtualGpuSettings | None, Callable[[str, Any], None], Callable[[], None]], Awaitable[ProbeProcess]
]  # Any: the value of a JSON frame


class ProbeClient:
    """One probe, whichever process that is at the moment."""

    def __init__(
        self,
        virtual: VirtualGpuSettings | None,
        *,
        observe: Observe,
        clock: Clock,
        deadlines: Deadlines | None = None,
        spawn: Spawn = child_process.spawn,
    ) -> None:
        self.stats = ProbeStats()
        self.held = False
        """Whether the GPUs are let go of, until `reacquire`."""
        self.inventory: NvmlInventory | None = None
        """What the probe found last; None if it never could look."""
        self._virtual = virtual
        self._observe = observe
        self._clock = clock
        self._deadlines = deadlines or Deadlines()
        self._spawn = spawn
        self._probe: ProbeProcess | None = None
        self._stuck: list[ProbeProcess] = []
        self._down = asyncio.Event()
        self._down.set()
        self._asking = asyncio.Lock()
        self._away = "PROBE_STARTING"
        self._ready: asyncio.Future[None] | None = None
        self._load: Sequence[Any] = ()
        self._load_told = True
        self._pause_seconds = self._deadlines.first_pause
        self._deaths_in_a_row = 0
        self._trouble_since: float | None = None
        self._closed = False

    @property
    def process_ids(self) -> frozenset[int]:
        """The processes of this probe, those too that cannot be buried."""
        probes = [*self._stuck, *([] if self._probe is None else [self._probe])]
        return frozenset(probe.process.pid for probe in probes)

    async def start(self) -> None:
        """Start the first process and look at the GPUs; a driver that hangs here is a stall like any other.

        Raises:
            BadVirtualGpus: the specification cannot be read.
        """
        try:
            await self._start_one()
        except ProbeAway as error:
            log.warning("probe.not_started", reason=error.error)

    async def run(self) -> NoReturn:
        """Start the probe again whenever it is down, with growing pauses, until cancelled."""
        while True:
            await self._down.wait()
            await self._bury()
            pause_seconds = self._pause_seconds
            self._pause_seconds = min(2 * pause_seconds, self._deadlines.longest_pause)
            await asyncio.sleep(pause_seconds)
            if len(self._stuck) >= MAXIMUM_STUCK:
                self._away = "PROBE_STUCK"
                continue
            try:
                await self._start_one()
            except (ProbeAway, BadVirtualGpus) as error:
                log.warning("probe.not_started", reason=str(error))

    def close(self) -> None:
        """Kill the probe, and wait a moment for its end: an idle one is gone within milliseconds."""
        self._closed = True
        probes = [*self._stuck, *([] if self._probe is None else [self._probe])]
        for probe in probes:
            probe.kill("the daemon stops")
            probe.close()
        until = time.monotonic() + _CLOSE_SECONDS
        while any(probe.process.poll() is None for probe in probes) and time.monotonic() < until:
            time.sleep(0.002)

    async def read(self, *, fresh: bool = False) -> NvmlReading:
        """Return a sample of all GPUs; the slow set in it is `fresh` if it has to be. Raises ProbeAway."""
        if self._ready is not None:
            raise ProbeAway(self._away)  # it opens the driver, which may take long: the caller has better things to do
        if not self._load_told:
            self._load_told = True
            await self._ask("load", self._load, seconds=self._deadlines.control)
        reading = _checked(NvmlReading, await self._ask("sample", fresh, seconds=self._deadlines.sample), self._reject)
        self._works_again()
        return reading

    async def look(self) -> NvmlInventory:
        """Open the driver if it is not, read the inventory, and keep it. Raises ProbeAway."""
        found = await self._ask(_OPENS, seconds=self._deadlines.inventory)
        self.inventory = _checked(NvmlInventory, found, self._reject)
        return self.inventory

    async def release(self) -> None:
        """Let go of all GPUs: when this returns, no process of the probe has one open.

        Raises:
            GpusHeld: the driver does not let a process go that has.
        """
        self.held = True
        try:
            left_open = await self._ask("release", seconds=self._deadlines.control)
            if left_open and self._probe is not None:
                self._lose(self._probe, f"it keeps {str(left_open)[:200]} open", "PROBE_DIED")
        except ProbeAway:  # whatever it was, its process is killed or gone by now
            pass
        await self._bury()
        if self._stuck:
            names = ", ".join(str(probe.process.pid) for probe in self._stuck)
            raise GpusHeld(
                f"the driver does not let go of the killed probe (pid {names}): only a reboot frees the GPUs"
            )

    async def reacquire(self) -> None:
        """Open the GPUs again, now or as soon as the probe is back."""
        self.held = False
        try:
            await self.look()
        except ProbeAway:
            log.warning("probe.reacquired_later", reason=self._away)

    def put_load(self, table: Sequence[Any]) -> None:
        """Tell what jobs do to virtual GPUs: rows of UUID, percent, bytes, process ids. It shows in the next sample."""
        self._load, self._load_told = table, False

    async def control(self, operation: str, *arguments: Any) -> Any:
        """Do something to virtual GPUs. Any: JSON values. Raises ProbeAway, or RequestFailed if it is refused."""
        return await self._ask(operation, *arguments, seconds=self._deadlines.control, may_refuse=True)

    async def _start_one(self) -> None:
        """Start a process; raises ProbeAway if it did not come to answer."""
        self.stats.starts += 1
        ready = self._ready = asyncio.get_running_loop().create_future()
        self._away = "PROBE_STARTING"
        self._down.clear()
        probe: ProbeProcess | None = None
        try:
            probe = await self._spawn(self._virtual, self._take_event, lambda: self._ended(probe))
            self._probe = probe
            if probe.reason:  # it has ended already, before there was a name for it
                self._ended(probe)
            async with asyncio.timeout(self._deadlines.start):
                await ready
            if self._virtual is not None:
                await self._ask("load", self._load, seconds=self._deadlines.control)
                self._load_told = True
            if not self.held:
                await self.look()
        except (OSError, TimeoutError) as error:
            self._lose(probe, f"it does not start: {error!r}", "PROBE_DIED")
            raise ProbeAway(self._away) from error
        except ProbeEnded as error:
            raise ProbeAway(self._away) from error
        finally:
            self._ready = None
            if self._probe is None:
                self._down.set()

    def _take_event(self, word: str, value: Any) -> None:
        if word == "xid" and type(value) is list and len(value) == 4:  # noqa: PLR2004 - code, UUID, PCI id, instance
            self._take_xid(*value)
        elif word == "ready" and self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        elif word == "bad_spec" and self._ready is not None and not self._ready.done():
            self._ready.set_exception(BadVirtualGpus(str(value)[:400]))

    def _take_xid(self, code: Any, gpu_uuid: Any, pci_bus_id: Any, instance: Any) -> None:
        whole_gpu = instance is None or type(instance) is not int
        if type(code) is int and 0 <= code <= _MAXIMUM_XID and type(gpu_uuid) is str and type(pci_bus_id) is str:
            gpu_instance_id = None if whole_gpu else instance
            self._observe(NvmlXid(code, gpu_uuid[:100], pci_bus_id[:40], gpu_instance_id, self._clock.now()))

    async def _ask(self, operation: str, *arguments: Any, seconds: float, may_refuse: bool = False) -> Any:
        async with self._asking:
            probe = self._probe
            if probe is None:
                raise ProbeAway(self._away)
            if self.held and operation == _OPENS:
                raise ProbeAway("UNINITIALIZED")
            began = self._clock.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    return await probe.ask(operation, *arguments)
            except TimeoutError:
                self._stalled(probe, operation, seconds, began)
                raise ProbeAway(self._away) from None
            except ProbeEnded:
                raise ProbeAway(self._away) from None
            except RequestFailed as error:
                if may_refuse and error.word == _REFUSED:
                    raise
                # A bug, or a driver that broke the process's memory: a fresh process is the safest answer.
                self._lose(probe, f"{operation} failed: {error}", "PROBE_DIED")
                raise ProbeAway(self._away) from error

    def _reject(self, error: BadValue) -> ProbeAway:
        """Kill a probe whose answer cannot be used."""
        self._lose(self._probe, f"it sent garbage: {error}", "PROBE_DIED")
        return ProbeAway(self._away)

    def _stalled(self, probe: ProbeProcess, operation: str, seconds: float, began: float) -> None:
        doing = probe.doing or operation
        self.stats.stalls += 1
        if self._trouble_since is None:
            self._trouble_since = began
        log.warning("probe.stalled", doing=doing, seconds=seconds, pid=probe.process.pid)
        self._drop(probe, "it hangs", "PROBE_STALLED")
        self._observe(ProbeStall(_PROBE, seconds, self._clock.now(), doing=doing))

    def _lose(self, probe: ProbeProcess | None, reason: str, away: str) -> None:
        """Kill a probe that is broken, and count its death."""
        if probe is not None and probe is self._probe:
            self._count_death(probe, reason)
            self._drop(probe, reason, away)
        else:
            self._away = away

    def _ended(self, probe: ProbeProcess | None) -> None:
        """Take note of a probe that ended without being told to."""
        if self._closed or probe is None or probe is not self._probe:
            return
        self._count_death(probe, probe.reason)
        self._drop(probe, probe.reason, "PROBE_DIED")

    def _count_death(self, probe: ProbeProcess, reason: str) -> None:
        self.stats.deaths += 1
        self._deaths_in_a_row += 1
        doing = probe.doing
        log.warning("probe.died", reason=reason, doing=doing, pid=probe.process.pid, in_a_row=self._deaths_in_a_row)
        now = self._clock.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        if self._deaths_in_a_row % _DEATHS_THAT_TELL == 0:
            text = f"{doing or 'between calls'}; the probe died {self._deaths_in_a_row} times in a row: {reason}"
            self._observe(ProbeStall(_PROBE, now - self._trouble_since, self._clock.now(), doing=text))

    def _drop(self, probe: ProbeProcess, reason: str, away: str) -> None:
        self._probe = None
        self._away = away
        self._stuck.append(probe)  # until it is buried
        probe.kill(reason)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ProbeEnded(reason))
        self._down.set()

    async def _bury(self) -> None:
        """Wait for the ends of killed probes; give up those that do not end, and keep them to look at later."""
        for probe in tuple(self._stuck):
            if await probe.bury(0 if probe.given_up else self._deadlines.bury):
                if probe in self._stuck:
                    self._stuck.remove(probe)
                    probe.close()
            elif not probe.given_up:
                probe.given_up = True
                self.stats.stuck += 1
                log.error("probe.stuck", pid=probe.process.pid, exit=describe_exit(None), kept=len(self._stuck))

    def _works_again(self) -> None:
        self._deaths_in_a_row = 0
        self._pause_seconds = self._deadlines.first_pause
        if self._trouble_since is None:
            return
        seconds = self._clock.monotonic() - self._trouble_since
        self._trouble_since = None
        log.info("probe.answers_again", seconds=round(seconds, 3))
        self._observe(ProbeStall(_PROBE, seconds, self._clock.now(), ended=True))


def _checked(kind: type[_T], value: Any, reject: Callable[[BadValue], ProbeAway]) -> _T:
    try:
        return rebuild(kind, value)
    except BadValue as error:
        raise reject(error) from error
