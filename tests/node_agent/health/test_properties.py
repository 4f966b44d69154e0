"""What holds after any sequence of observations."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.health.model import (
    MAXIMUM_CONDITIONS,
    MAXIMUM_EVIDENCE,
    Authority,
    Change,
    ChangeKind,
    Condition,
    JobOnGpu,
    Rung,
    Severity,
)
from node_agent.health.rules import HealthRules, Hold
from node_agent.health.state import HealthState
from node_agent.probe.observations import (
    HostFinding,
    HostReport,
    KernelFault,
    KernelFaultReport,
    KernelLine,
    KernelLoss,
    NvlinkSubcode,
    NvmlXid,
    ProbeStall,
    Standing,
    StatedAction,
    SxidReport,
    XidReport,
)
from node_agent.probe.samples import (
    GPU_MISSING,
    EccCounts,
    GpuSample,
    NvlinkSample,
    PcieLink,
    ReadFailure,
    RecoveryAction,
    RemappedRows,
    ThrottleReason,
)
from tests.node_agent.health.host import Host, gpu, pci, uuid
from tests.node_agent.health.samples import batch, sample

QUICK = replace(HealthRules(), flap_raises=2, lemon_repairs=2, info_clear_seconds=30.0, warning_clear_seconds=60.0)

text = st.text(max_size=30)
index = st.integers(0, 3)
pcis = st.one_of(index.map(pci), st.sampled_from(["0000:ff:00.0", "", "nonsense", "ffffffff:ff:1f.7"]), text)
codes = st.one_of(st.sampled_from([13, 31, 43, 45, 48, 63, 64, 74, 79, 92, 94, 95, 119, 149, 154]), st.integers(0, 300))
pids = st.none() | st.integers(1, 5)
subcodes = st.none() | st.builds(
    NvlinkSubcode,
    unit=text,
    link=st.none() | st.integers(-1, 20),
    injected=st.booleans(),
    error_status=st.integers(0, 9),
    intrinfo=st.integers(0, 9),
    severity=st.sampled_from(["Fatal", "Nonfatal", ""]),
    vendor_action=st.sampled_from(["RESET_GPU", "IGNORE", "XID_154_EVAL", "", "UNHEARD_OF"]),
)
details = st.one_of(
    text, st.sampled_from(["link 3(0x10, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)", "link 3(0x1, 0x0, 0x0, 0x0, 0x0)"])
)
samples = st.builds(
    lambda number, reasons, uncorrected, rows, width, action, failure, links: replace(
        sample(number),
        throttle_reasons=reasons,
        ecc=EccCounts(uncorrected * 500, uncorrected, 0, 0),
        remapped_rows=rows,
        pcie=PcieLink(5, 5, width, 16, uncorrected * 30),
        recovery_action=action,
        failures=(ReadFailure("f", failure),) if failure else (),
        nvlinks=tuple(NvlinkSample(number, up, crc_errors=uncorrected) for number, up in enumerate(links)),
    ),
    index,
    st.sampled_from([ThrottleReason.NONE, ThrottleReason.HW_SLOWDOWN, ThrottleReason.HW_POWER_BRAKE_SLOWDOWN]),
    st.integers(0, 3),
    st.none() | st.builds(RemappedRows, st.just(0), st.just(1), pending=st.booleans(), failure=st.booleans()),
    st.sampled_from([8, 16]),
    st.sampled_from(RecoveryAction),
    st.sampled_from(["", "", "GPU_IS_LOST", GPU_MISSING, "UNKNOWN", "RESET_REQUIRED"]),
    st.lists(st.booleans(), max_size=2),
)

Act = Callable[[Host], list[Change]]


def line(host: Host, words: str) -> KernelLine:
    return host.line(words)


def feed(host: Host, gpus: list[GpuSample], nvml_error: str | None) -> list[Change]:
    return host.observe(batch(host, gpus, nvml_error=nvml_error))


def jobs(host: Host, holders: dict[int, int]) -> list[Change]:
    host.engine.set_jobs({uuid(number): JobOnGpu(f"j-{job}", "a", frozenset({job})) for number, job in holders.items()})
    return []


def speak(host: Host, number: int, acknowledge: bool) -> list[Change]:
    conditions = host.engine.conditions()
    if not conditions:
        return []
    condition_id = conditions[number % len(conditions)].id
    word = host.engine.acknowledge if acknowledge else host.engine.clear
    return host.take(word(condition_id, "ada", host.clock.now()))


def restart(host: Host) -> list[Change]:
    before = host.engine.conditions()
    host.start(HealthState.from_json(host.engine.state().to_json()))
    assert host.engine.conditions() == before
    return []


acts: st.SearchStrategy[Act] = st.one_of(
    st.tuples(codes, pcis, pids, details, st.none() | st.sampled_from(StatedAction), subcodes, st.integers(1, 12)).map(
        lambda a: (
            lambda h: [
                change
                for _ in range(a[6])
                for change in h.observe(XidReport(line(h, a[3]), a[0], a[1], a[2], "p", a[3], a[4], a[5]))
            ]
        )
    ),
    st.tuples(codes, pcis, st.none() | st.booleans(), st.none() | st.integers(0, 3)).map(
        lambda a: lambda h: h.observe(SxidReport(line(h, "s"), 12000 + a[0], a[1], a[2], a[3], "d"))
    ),
    st.tuples(st.sampled_from(KernelFault), pcis, st.booleans(), st.booleans(), pids).map(
        lambda a: lambda h: h.observe(KernelFaultReport(line(h, "f"), *a))
    ),
    st.tuples(st.sampled_from(HostFinding), text, st.sampled_from(Standing), st.sampled_from(["", uuid(0), "x"])).map(
        lambda a: lambda h: h.observe(HostReport(a[0], a[1], a[2], "t", h.clock.now(), a[3]))
    ),
    st.tuples(st.sampled_from(["nvml", "dcgm"]), st.booleans()).map(
        lambda a: lambda h: h.observe(ProbeStall(a[0], 5.0, h.clock.now(), a[1]))
    ),
    st.tuples(codes, index, pcis).map(
        lambda a: lambda h: h.observe(NvmlXid(a[0], uuid(a[1]), a[2], None, h.clock.now()))
    ),
    st.integers(1, 9).map(lambda a: lambda h: h.observe(KernelLoss(a, h.clock.now()))),
    st.tuples(st.lists(samples, max_size=4), st.sampled_from([None, None, None, "UNINITIALIZED", "UNKNOWN"])).map(
        lambda a: lambda h: feed(h, a[0], a[1])
    ),
    st.sampled_from([0.0, 1.0, 5.0, 40.0, 100.0]).map(lambda a: lambda h: h.wait(a, step=max(a, 1.0))),
    st.sets(index, min_size=1).map(lambda a: lambda h: h.take(h.engine.set_gpus([gpu(number) for number in a]))),
    st.dictionaries(index, st.integers(0, 3), max_size=4).map(lambda a: lambda h: jobs(h, a)),
    st.tuples(st.lists(index, max_size=2), st.sampled_from(Rung), st.booleans()).map(
        lambda a: lambda h: h.take(h.engine.note_repair([uuid(n) for n in a[0]], a[1], a[2], h.clock.now()))
    ),
    st.sampled_from(["a", "b"]).map(lambda a: lambda h: h.take(h.engine.note_boot(a, h.clock.now()))),
    st.tuples(st.integers(0, 20), st.booleans()).map(lambda a: lambda h: speak(h, *a)),
    st.just(restart),
)


def told(one: Condition) -> tuple[object, ...]:
    return (one.severity, one.repair, one.authority, one.sticky, one.acknowledged_by, one.vendor_action, one.service)


def check(host: Host, changes: list[Change], replayed: dict[str, Condition]) -> None:
    for change in changes:
        lasting = change.condition.id in replayed
        assert lasting is (change.kind is not ChangeKind.RAISED), f"{change.kind} of {change.condition.id}"
        if change.kind is ChangeKind.CLEARED:
            del replayed[change.condition.id]
        else:
            replayed[change.condition.id] = change.condition
    now = {one.id: one for one in host.engine.conditions()}
    assert {key: told(one) for key, one in replayed.items()} == {key: told(one) for key, one in now.items()}
    assert len(now) == len(host.engine.conditions()) <= MAXIMUM_CONDITIONS
    for one in now.values():
        assert 1 <= len(one.evidence) <= MAXIMUM_EVIDENCE
        assert len({piece.id for piece in one.evidence}) == len(one.evidence)
        assert all(piece.text.isprintable() and len(piece.text) <= 500 for piece in one.evidence)
        assert len(one.process_ids) <= 16
        assert one.first_seen_at <= one.last_seen_at
        assert one.count >= 1
        assert (one.repair is None) is (one.authority is None)
        assert one.repair is None or not one.acknowledged_by
        assert one.repair is None or one.severity > Severity.INFO
        assert one.id.isprintable()
        assert one.summary.isprintable()
        if one.authority is Authority.DRIVER:
            assert one.gpu_uuid
        if one.repair in (Rung.RESET_GPU, Rung.STOP_PROCESS, Rung.MOVE_JOB) and not one.gpu_uuid:
            assert one.kind == "SXID", "only a switch's repair is one of all GPUs"


@settings(max_examples=150, deadline=None)
@given(st.lists(acts, min_size=5, max_size=50))
def test_any_sequence_of_observations_keeps_the_books_straight(sequence: list[Act]) -> None:
    host = Host(gpus=4, rules=QUICK)
    replayed: dict[str, Condition] = {}
    ids: set[str] = set()
    for act in sequence:
        changes = act(host)
        check(host, changes, replayed)
        fresh = {change.id for change in changes}
        assert len(fresh) == len(changes)
        assert not fresh & ids
        ids |= fresh


def test_links_that_are_not_judged_again_while_nothing_changed_tell_the_same() -> None:
    rules = replace(HealthRules(), nvlink_errors=Hold(20.0, 30.0))
    states = [
        (NvlinkSample(0, active=True), NvlinkSample(1, active=active, crc_errors=errors))
        for active in (True, False)
        for errors in (0, 5000)
    ]
    for whiles in itertools.product(states, repeat=3):
        same, copied = Host(rules=rules), Host(rules=rules)
        for links in whiles:
            for _ in range(34):
                for host in (same, copied):
                    host.clock.advance(3)
                    told = links if host is same else tuple(map(replace, links))
                    host.observe(batch(host, [replace(sample(0), nvlinks=told)]))
        events = [[(one.kind, one.condition.id, one.occurred_at) for one in host.changes] for host in (same, copied)]
        assert events[0] == events[1]
