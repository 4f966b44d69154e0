"""A host with eight GPUs, whose kernel lines go through the daemon's own parser."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from node_agent.health.engine import HealthEngine, Observation
from node_agent.health.model import Change, ChangeKind, Condition, GpuIdentity
from node_agent.health.rules import HealthRules
from node_agent.health.state import HealthState
from node_agent.probe.kernel.parse import KernelParser
from node_agent.probe.observations import KernelLine

START = datetime(2026, 3, 1, tzinfo=UTC)
DRIVER = "580.65.06"


class ManualClock:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def gpu(index: int) -> GpuIdentity:
    return GpuIdentity(uuid(index), index, pci(index), "H100", f"serial-{index}", DRIVER)


def uuid(index: int) -> str:
    return f"GPU-{index:04d}"


def pci(index: int) -> str:
    return f"0000:{index + 1:02x}:00.0"


class Host:
    """An engine and everything that was told, with time under control."""

    def __init__(self, gpus: int = 8, rules: HealthRules | None = None, restored: HealthState | None = None) -> None:
        self.clock = ManualClock()
        self.rules = rules or HealthRules()
        self.changes: list[Change] = []
        self.parser = KernelParser(DRIVER)
        self._sequence = 0
        self.start(restored)
        self.gpus = [gpu(index) for index in range(gpus)]
        self.take(self.engine.set_gpus(self.gpus))

    def start(self, restored: HealthState | None) -> None:
        self.engine = HealthEngine(clock=self.clock, rules=self.rules, restored=restored)

    def take(self, changes: Iterable[Change]) -> list[Change]:
        told = list(changes)
        self.changes += told
        return told

    def observe(self, *observations: Observation) -> list[Change]:
        return [change for one in observations for change in self.take(self.engine.observe(one))]

    def line(self, text: str) -> KernelLine:
        self._sequence += 1
        return KernelLine(self._sequence, self.clock.monotonic(), 4, text, self.clock.now())

    def kernel(self, text: str) -> list[Change]:
        """Let the kernel print a line."""
        told: list[Change] = []
        for report in [*self.parser.feed(self.line(text)), *self.parser.flush()]:
            told += self.observe(report)
        return told

    def xid(
        self, index: int, code: int, *, pid: int | None = None, process: str = "python3", rest: str = "x"
    ) -> list[Change]:
        """Let the driver print an XID of a GPU."""
        who = f"pid={pid}, name={process}, " if pid is not None else "pid='<unknown>', name=<unknown>, "
        return self.kernel(f"NVRM: Xid (PCI:{pci(index)[:-2]}): {code}, {who}{rest}")

    def wait(self, seconds: float, step: float = 1.0) -> list[Change]:
        """Let time pass, with a tick each second."""
        told: list[Change] = []
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            told += self.take(self.engine.tick())
        return told

    def conditions(self) -> dict[str, Condition]:
        return {one.id: one for one in self.engine.conditions()}

    def repairs(self) -> dict[str, str]:
        """Return what is proposed, by condition."""
        return {one.id: one.repair.name for one in self.engine.conditions() if one.repair is not None}


def kinds(changes: Iterable[Change]) -> list[ChangeKind]:
    return [change.kind for change in changes]
