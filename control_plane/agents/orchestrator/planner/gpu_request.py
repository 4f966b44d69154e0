"""How many GPUs, of which model, on how many nodes: all arithmetic on counts is done here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.agents.orchestrator.planner import gpu_words as grammar
from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.gpu import Gpu
from control_plane.agents.orchestrator.planner.gpu_readings import (
    Reading,
    Readings,
    collect,
)
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What a part of a goal says about GPUs; `conflicts` are sentences about what does not fit together."""

    gpu_type: Fact[str] | None = None
    count: Fact[int] | None = None
    min_memory_bytes: Fact[int] | None = None
    nodes: Fact[int] | None = None
    gpus_per_node: Fact[int] | None = None
    replicas: Fact[int] | None = None
    min_replicas: Fact[int] | None = None
    alternative_types: Fact[tuple[str, ...]] | None = None
    exclude_types: Fact[tuple[str, ...]] | None = None
    any_idle: Fact[bool] | None = None
    conflicts: tuple[str, ...] = ()
    type_conflict: str | None = None

    @property
    def says_something(self) -> bool:
        """Whether a GPU, a number of them or a size was named."""
        return any(
            fact is not None
            for fact in (
                self.gpu_type,
                self.count,
                self.min_memory_bytes,
                self.nodes,
                self.gpus_per_node,
                self.any_idle,
            )
        )


_IN_TURN = re.compile(
    r"one after (?:another|the other)|one by one|sequentially|in sequence|one at a time|back to back|"
    r"nacheinander|uno tras otro|l'un apres l'autre|依次|逐个|順番に"
)
_HOST = re.compile(
    r"node|machine|host|box|server|instance|vm|knoten|rechner|maschine|nodo|maquina|noeud|serveur|"
    r"节点|台|机|ノード"
)
_SERVED = re.compile(r"replica|repli|copies|copias|pods?|副本|レプリカ|实例")


def read_gpus(shadow: Shadow, negated: frozenset[int]) -> GpuFacts:
    """Read the GPU request of one part of a goal. `negated` are the marks that stand for exclusions."""
    readings = collect(shadow, negated)
    mentions = [(at, gpu) for at, gpu in shadow.marks(Kind.GPU) if at not in negated]
    excluded = [(at, gpu) for at, gpu in shadow.marks(Kind.GPU) if at in negated]
    shape = _shape(shadow, readings, mentions)
    gpu_at = shape.gpu_at if shape.gpu_at is not None else mentions[0][0] if mentions else None
    gpu_type = _type_fact(shadow, gpu_at)
    alternatives = _alternatives(shadow, negated, gpu_type)
    idle = re.search(grammar.ANY_IDLE, shadow.text)
    return GpuFacts(
        gpu_type=gpu_type,
        count=shape.count,
        min_memory_bytes=_memory(shadow, gpu_at),
        nodes=shape.nodes,
        gpus_per_node=shape.per_node,
        replicas=shape.replicas,
        min_replicas=shape.min_replicas,
        alternative_types=alternatives,
        exclude_types=_types(shadow, excluded),
        any_idle=Fact(True, (shadow.span(*idle.span()),)) if idle else None,
        conflicts=shape.conflicts,
        type_conflict=_type_conflict(shadow, negated, gpu_type, alternatives),
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    count: Fact[int] | None = None
    nodes: Fact[int] | None = None
    per_node: Fact[int] | None = None
    replicas: Fact[int] | None = None
    min_replicas: Fact[int] | None = None
    gpu_at: int | None = None
    conflicts: tuple[str, ...] = ()


def _shape(shadow: Shadow, found: Readings, mentions: list[tuple[int, Gpu]]) -> _Shape:
    for shape in (
        _shaped(found),
        _per_node(found),
        _replicated(shadow, found, has_type=bool(mentions)),
        _total(found),
        _whole_host(shadow, found, mentions),
    ):
        if shape is not None:
            return shape
    nodes = _first(found.nodes, "n")
    per_node = _first(found.per_node, "p")
    return _Shape(nodes=nodes, per_node=per_node)


def _first(readings: list[Reading], role: str) -> Fact[int] | None:
    for reading in readings:
        value = reading.n if role == "n" else reading.p
        if value is not None:
            return Fact(value, (reading.span,))
    return None


def _gpu_at(*groups: list[Reading]) -> int | None:
    return next((reading.gpu_at for group in groups for reading in group if reading.gpu_at is not None), None)


def _shaped(found: Readings) -> _Shape | None:
    reading = next((r for r in found.shaped if r.n is not None and r.p is not None), None)
    if reading is None or reading.n is None or reading.p is None:
        return None
    where = (reading.span,)
    return _Shape(
        count=Fact(reading.n * reading.p, where),
        nodes=Fact(reading.n, where),
        per_node=Fact(reading.p, where),
        gpu_at=_gpu_at([reading], found.totals, found.nodes),
        conflicts=tuple(_disagreements(reading.n * reading.p, reading, found.totals)),
    )


def _disagreements(count: int, shape: Reading, totals: list[Reading]) -> Iterator[str]:
    for total in totals:
        if total.n is not None and total.n > 1 and total.n != count:
            yield f"{shape.n} nodes of {shape.p} GPUs are {count} GPUs, but {total.n} are asked for as well."


def _per_node(found: Readings) -> _Shape | None:
    nodes = next((r for r in found.nodes if r.n is not None), None)
    each = next((r for r in found.per_node if r.p is not None), None)
    if each is not None and nodes is None and found.totals and found.totals[0].n is not None:
        many = next((r for r in found.multiples if r.n is not None), None)
        if many is not None and many.n is not None and many.n * (each.p or 0) == found.totals[0].n:
            return _Shape(
                count=_first(found.totals, "n"),
                replicas=Fact(many.n, (many.span,)),
                gpu_at=_gpu_at(found.totals, [each]),
            )
        return _Shape(
            count=_first(found.totals, "n"),
            per_node=Fact(each.p or 0, (each.span,)),
            gpu_at=_gpu_at(found.totals, [each]),
        )
    if each is not None and nodes is None and each.p is not None and not re.search(_HOST, found.each_text):
        at_once = next((r for r in found.at_a_time if r.n is not None), None)
        times = at_once.n if at_once is not None and at_once.n is not None else 1
        return _Shape(count=Fact(each.p * times, (each.span,)), gpu_at=_gpu_at([each]))
    if nodes is None or each is None or nodes.n is None or each.p is None:
        return None
    joined = Reading(nodes.n, each.p, None, None, each.span)
    return _Shape(
        count=Fact(nodes.n * each.p, (nodes.span, each.span)),
        nodes=Fact(nodes.n, (nodes.span,)),
        per_node=Fact(each.p, (each.span,)),
        gpu_at=_gpu_at([each, nodes], found.totals),
        conflicts=tuple(_disagreements(nodes.n * each.p, joined, found.totals)),
    )


def _replicated(shadow: Shadow, found: Readings, *, has_type: bool) -> _Shape | None:
    """Count replicas, trials and the like: at the peak, with all of them running that may run at once."""
    many = max((r for r in found.multiples if r.n is not None), key=lambda r: r.n or 0, default=None)
    if many is None or many.n is None:
        return None
    at_once = next((r for r in found.at_a_time if r.n is not None), None)
    each = next((r for r in (*found.per_multiple, many) if r.p is not None), None)
    if each is None and found.per_node:
        each = found.per_node[0]
    peak = 1 if _IN_TURN.search(shadow.text) else at_once.n if at_once and at_once.n is not None else many.n
    served = many.low is not None or bool(_SERVED.search(shadow.text))
    where = tuple(dict.fromkeys(r.span for r in (many, at_once, each) if r is not None))
    replicas = Fact(many.n, (many.span,)) if served else None
    low = Fact(many.low, (many.span,)) if served and many.low is not None else None
    gpu_at = _gpu_at([each] if each else [], [many], found.totals)
    if each is not None and each.p is not None:
        return _Shape(count=Fact(peak * each.p, where), replicas=replicas, min_replicas=low, gpu_at=gpu_at)
    if found.totals and found.totals[0].n is not None:
        total = found.totals[0]
        spread = served and total.n == 1 and many.n > 1
        count = Fact(peak, (many.span, total.span)) if spread else Fact(total.n or 0, (total.span,))
        return _Shape(count=count, replicas=replicas, min_replicas=low, gpu_at=gpu_at)
    if served and (has_type or many.low is not None):
        return _Shape(count=Fact(peak, where), replicas=replicas, min_replicas=low, gpu_at=gpu_at)
    return _Shape(replicas=replicas, min_replicas=low) if served else None


def _total(found: Readings) -> _Shape | None:
    counted = [r for r in found.totals if r.n is not None]
    if not counted:
        return None
    best = next((r for r in counted if r.gpu is not None), counted[0])
    if best.n is not None and best.gpu is None and len(counted) > 1:
        best = max(counted, key=lambda r: r.n or 0)
    count, where = best.n or 0, (best.span,)
    nodes = _first(found.nodes, "n")
    gpu_at = best.gpu_at if best.gpu_at is not None else _gpu_at(counted, found.nodes)
    if best.gpu is not None and best.gpu.per_node is not None:
        return _Shape(
            Fact(count * best.gpu.per_node, where), Fact(count, where), Fact(best.gpu.per_node, where), gpu_at=gpu_at
        )
    return _Shape(count=Fact(count, where), nodes=nodes, gpu_at=gpu_at)


def _whole_host(shadow: Shadow, found: Readings, mentions: list[tuple[int, Gpu]]) -> _Shape | None:
    """Count hosts whose type says how many GPUs they have: `2 DGX H100 nodes`, `p4d.24xlarge`."""
    hosts = next(((at, gpu) for at, gpu in mentions if gpu.per_node is not None), None)
    if hosts is None or hosts[1].per_node is None:
        return None
    at, gpu = hosts
    per_node = hosts[1].per_node
    nodes = _first(found.nodes, "n")
    span = shadow.span(at, at + 1)
    if nodes is None:
        return _Shape(count=Fact(per_node, (span,)), per_node=Fact(per_node, (span,)), gpu_at=at)
    return _Shape(
        Fact(nodes.value * per_node, (*nodes.spans, span)), nodes, Fact(gpu.per_node or 0, (span,)), gpu_at=at
    )


def _type_fact(shadow: Shadow, at: int | None) -> Fact[str] | None:
    return Fact(shadow.values[shadow.text[at]].model, (shadow.span(at, at + 1),)) if at is not None else None


def _type_conflict(
    shadow: Shadow, negated: frozenset[int], chosen: Fact[str] | None, others: Fact[tuple[str, ...]] | None
) -> str | None:
    """Say so when only one model may be used and another is asked for."""
    allowed = {chosen.value, *(others.value if others else ())} if chosen else set()
    for match in grammar.ONLY_TYPE.finditer(shadow.text):
        at = match.start(1) if match.group(1) else match.start(2)
        model = shadow.values[shadow.text[at]].model
        if chosen is not None and at not in negated and model not in allowed:
            return f"{chosen.value} is asked for, but only {model} may be used."
    return None


def _types(shadow: Shadow, mentions: list[tuple[int, Gpu]]) -> Fact[tuple[str, ...]] | None:
    if not mentions:
        return None
    names = tuple(dict.fromkeys(gpu.model for _, gpu in mentions))
    return Fact(names, tuple(shadow.span(at, at + 1) for at, _ in mentions))


def _alternatives(shadow: Shadow, negated: frozenset[int], chosen: Fact[str] | None) -> Fact[tuple[str, ...]] | None:
    if chosen is None:
        return None
    others: list[tuple[int, Gpu]] = []
    for match in grammar.OR_TYPE.finditer(shadow.text):
        others += [(match.start(g), shadow.values[match.group(g)]) for g in (1, 2) if match.start(g) not in negated]
    return _types(shadow, [(at, gpu) for at, gpu in others if gpu.model != chosen.value])


def _memory(shadow: Shadow, gpu_at: int | None) -> Fact[int] | None:
    if gpu_at is not None:
        gpu = shadow.values[shadow.text[gpu_at]]
        if gpu.memory_gb is not None:
            return Fact(gpu.memory_gb * 10**9, (shadow.span(gpu_at, gpu_at + 1),))
    for pattern in (grammar.MEMORY_OF_TYPE, grammar.MEMORY_REQUEST):
        for match in pattern.finditer(shadow.text):
            size = next(char for char in match.groups() if char and isinstance(shadow.values.get(char), int))
            return Fact(shadow.values[size], (shadow.span(*match.span()),))
    return None
