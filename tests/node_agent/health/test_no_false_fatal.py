"""An hour of normal running with noisy applications proposes no repair."""

import random
from dataclasses import dataclass, replace

import pytest

from node_agent.health.model import JobOnGpu, Severity
from node_agent.probe.observations import HostFinding, HostReport, ProbeStall, Standing
from node_agent.probe.samples import EccCounts, GpuProcess, GpuSample, PcieLink, ReadFailure, ThrottleReason
from tests.node_agent.health.host import Host, pci, uuid
from tests.node_agent.health.samples import batch, sample

GPUS = 8
HOUR = 3600


@dataclass
class Job:
    id: str
    gpus: tuple[int, ...]
    pids: tuple[int, ...]
    ends: int
    buggy: bool


class Noise:
    """A host on which everything works and nothing is quiet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.host = Host(GPUS)
        self.jobs: list[Job] = []
        self.numbers = 0
        self.hot_until = [0] * GPUS
        self.corrected = [0] * GPUS
        self.replays = [0] * GPUS

    def run(self, seconds: int) -> None:
        for second in range(seconds):
            self.host.clock.advance(1)
            self.schedule(second)
            self.print_lines()
            self.host.observe(batch(self.host, [self.sample(index, second) for index in range(GPUS)]))
            self.look_around()
            self.host.take(self.host.engine.tick())

    def schedule(self, second: int) -> None:
        for job in [one for one in self.jobs if one.ends <= second]:
            self.jobs.remove(job)
            if self.random.random() < 0.5:  # killed, so that the driver tears its channels down
                for index, pid in zip(job.gpus, job.pids, strict=True):
                    self.host.xid(index, 45, pid=pid, rest=f"Ch {self.random.randrange(64):08x}")
        free = [index for index in range(GPUS) if all(index not in job.gpus for job in self.jobs)]
        if free and self.random.random() < 0.2:
            self.numbers += 1
            wanted = self.random.sample(free, self.random.choice([1, 1, 1, min(2, len(free)), len(free)]))
            pids = tuple(10_000 + 10 * self.numbers + rank for rank in range(len(wanted)))
            length = self.random.choice([20, 120, 600, 3000])
            job = Job(f"j-{self.numbers}", tuple(wanted), pids, second + length, self.random.random() < 0.3)
            self.jobs.append(job)
        holders = {
            uuid(index): JobOnGpu(job.id, f"a-{job.id}", frozenset(job.pids)) for job in self.jobs for index in job.gpus
        }
        self.host.engine.set_jobs(holders)

    def print_lines(self) -> None:
        for job in self.jobs:
            if self.random.random() > (0.02 if job.buggy else 0.001):
                continue
            rank = self.random.randrange(len(job.gpus))
            index, pid = job.gpus[rank], job.pids[rank]
            code = self.random.choice([13, 31, 43])
            for _ in range(self.random.choice([1, 1, 40])):  # each multiprocessor prints a line
                self.host.xid(index, code, pid=pid, rest=f"Graphics Exception {self.random.randrange(9)}")
            if self.random.random() < 0.5:
                self.host.xid(index, 45, pid=pid, rest="Ch 00000008")
            if self.random.random() < 0.5:
                job.ends = 0
        if self.random.random() < 0.005:  # someone's own program, outside jobs
            self.host.xid(
                self.random.randrange(GPUS), self.random.choice([13, 31, 43, 45]), pid=self.random.randrange(99)
            )
        if self.random.random() < 0.003:
            self.host.kernel(
                f"pcieport 0000:00:01.0: AER: Corrected error received: {pci(self.random.randrange(GPUS))}"
            )
        if self.random.random() < 0.002:
            self.host.kernel("Memory cgroup out of memory: Killed process 77 (python3) total-vm:1kB, anon-rss:1kB")
        if self.random.random() < 0.001:
            self.host.kernel("EDAC MC0: 1 CE memory read error on CPU_SrcID#0 (channel:0 slot:0 page:0x1 offset:0x0)")

    def sample(self, index: int, second: int) -> GpuSample:
        busy = any(index in job.gpus for job in self.jobs)
        if self.random.random() < 0.01:
            self.hot_until[index] = second + self.random.randrange(1, 45)
        hot = second < self.hot_until[index]
        self.corrected[index] += self.random.random() < 0.05
        self.replays[index] += self.random.random() < 0.02
        load = self.random.choice([0, 30, 90, 99, 100]) if busy else 0
        now = replace(
            sample(index),
            utilization_percent=load,
            memory_used_bytes=(70 << 30) if busy else (1 << 30),
            processes=(GpuProcess(1000, 1 << 30),) if busy else (),
            temperature_celsius=88 if hot else 60,
            temperature_margin_celsius=-1 if hot else 20,
            throttle_reasons=ThrottleReason.HW_THERMAL_SLOWDOWN if hot else ThrottleReason.SW_POWER_CAP,
            ecc=EccCounts(self.corrected[index], 0, self.corrected[index], 0),
            pcie=PcieLink(5 if load else 1, 5, 16, 16, self.replays[index]),
        )
        if self.random.random() < 0.002:
            now = replace(now, power_watts=None, failures=(ReadFailure("nvmlDeviceGetPowerUsage", "UNKNOWN"),))
        return now

    def look_around(self) -> None:
        at = self.host.clock.now()
        if self.random.random() < 0.001:
            self.host.observe(HostReport(HostFinding.SERVICE, "nvidia-persistenced", Standing.BAD, "restarts", at))
        elif self.random.random() < 0.5:
            self.host.observe(HostReport(HostFinding.SERVICE, "nvidia-persistenced", Standing.GOOD, "active", at))
        if self.random.random() < 0.0001:
            self.host.observe(ProbeStall("nvml", 5.0, at))
        elif self.random.random() < 0.1:
            self.host.observe(ProbeStall("nvml", 5.0, at, ended=True))


@pytest.mark.parametrize("seed", range(6))
def test_an_hour_of_noise_proposes_no_repair_and_nothing_fatal(seed: int) -> None:
    noise = Noise(seed)
    noise.run(HOUR)
    host = noise.host
    assert len(host.changes) > 20, "the noise was heard"
    assert [change for change in host.changes if change.condition.repair is not None] == []
    assert [change for change in host.changes if change.condition.severity is Severity.FATAL] == []


def test_a_real_fault_in_the_noise_is_not_missed() -> None:
    noise = Noise(99)
    noise.run(300)
    noise.host.xid(3, 79, rest="GPU has fallen off the bus.")
    noise.run(300)
    assert noise.host.repairs() == {f"gpu/{uuid(3)}/lost": "REBOOT_HOST"}
