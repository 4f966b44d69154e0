"""Readings: every match of the GPU grammar in one part of a goal, by what it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from control_plane.agents.orchestrator.planner import gpu_words as grammar
from control_plane.agents.orchestrator.planner.gpu import Gpu
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow
from control_plane.agents.orchestrator.planner.text import Span

MAX_COUNT = 1_000_000
BLANK = "\x00"


@dataclass(frozen=True, slots=True)
class Reading:
    """One match: numbers by role (`n` nodes, total or multiple; `p` per node or replica), model and span."""

    n: int | None
    p: int | None
    gpu: Gpu | None
    gpu_at: int | None
    span: Span
    low: int | None = None


@dataclass(slots=True)
class Readings:
    """All matches in one part of a goal, by what they say."""

    shaped: list[Reading] = field(default_factory=list)
    per_node: list[Reading] = field(default_factory=list)
    nodes: list[Reading] = field(default_factory=list)
    totals: list[Reading] = field(default_factory=list)
    multiples: list[Reading] = field(default_factory=list)
    per_multiple: list[Reading] = field(default_factory=list)
    at_a_time: list[Reading] = field(default_factory=list)
    each_text: str = ""


SHAPED = (grammar.NODES_OF_WAY, grammar.CJK_NODES_WAY, grammar.A_WAY_NODE, grammar.A_NODE_WITH, grammar.NODES_EACH)
CROSSED = (grammar.CROSS, grammar.TYPE_CROSS)
NODES = (grammar.NODE_KEY, grammar.NODE_COUNT, grammar.TYPE_NODES)
MULTIPLES = (
    grammar.REPLICA_RANGE,
    grammar.MIN_MAX_REPLICAS,
    grammar.AUTOSCALE_RANGE,
    grammar.REPLICAS_OF_TYPE,
    grammar.REPLICA_KEYS,
    grammar.REPLICAS,
    grammar.REPLICA_KEY,
)
TOTALS = (
    grammar.PART_OF,
    grammar.FROM_TO,
    grammar.RANGE,
    grammar.TOTAL,
    grammar.TOTAL_MEMORY,
    grammar.GPUS,
    grammar.TYPE_COUNTED,
    grammar.TYPE_TIMES,
    grammar.ONE_OF_TYPE,
    grammar.FLAGGED,
    grammar.KEYED,
    grammar.UP_TO,
    grammar.ONE_GPU,
)


def collect(shadow: Shadow, negated: frozenset[int]) -> Readings:
    """Read one part of a goal; `negated` marks are passed over. What one pattern has read the next do not see."""
    text = "".join(BLANK if index in negated else char for index, char in enumerate(shadow.text))
    found = Readings()
    text = take(shadow, text, SHAPED, found.shaped)
    text = take(shadow, text, CROSSED, found.shaped)
    has_multiple = any(
        pattern.search(text)
        for pattern in (grammar.REPLICAS, grammar.REPLICA_KEY, grammar.REPLICAS_OF_TYPE, grammar.REPLICA_RANGE)
    )
    text = take(shadow, text, (grammar.AT_A_TIME,), found.at_a_time)
    if has_multiple and not grammar.NODE_COUNT.search(text):
        text = take(shadow, text, (grammar.MULTIPLE_OF,), found.multiples)
        text = take(shadow, text, (grammar.PER_REPLICA, grammar.EACH_ON), found.per_multiple)
    found.each_text = "".join(
        m.group()
        for pattern in (grammar.PER_NODE, grammar.EACH_WITH, grammar.FLAGGED_PER_NODE)
        for m in pattern.finditer(text)
    )
    text = take(shadow, text, (grammar.PER_NODE, grammar.EACH_WITH, grammar.FLAGGED_PER_NODE), found.per_node)
    text = take(shadow, text, MULTIPLES, found.multiples)
    found.multiples = found.multiples or (found.at_a_time if has_multiple else [])
    text = take(shadow, text, NODES, found.nodes)
    text = take(shadow, text, TOTALS, found.totals)
    of_them: list[Reading] = []
    take(shadow, text, (grammar.OF_THEM,), of_them)
    for reading in of_them:
        hosts = any(gpu.per_node is not None for _, gpu in shadow.marks(Kind.GPU))
        is_nodes = not found.nodes and (hosts or re.search(grammar.NODE, shadow.text))
        (found.nodes if is_nodes else found.totals).append(reading)
    return found


def take(shadow: Shadow, text: str, patterns: Sequence[re.Pattern[str]], into: list[Reading]) -> str:
    """Read all matches of the patterns in order; what one has read is blanked for the next."""
    for pattern in patterns:
        for match in list(pattern.finditer(text)):
            if BLANK in match.group():
                continue
            into.append(reading(shadow, match))
            text = text[: match.start()] + BLANK * (match.end() - match.start()) + text[match.end() :]
    return text


def reading(shadow: Shadow, match: re.Match[str]) -> Reading:
    """Turn a match of the grammar into numbers by role."""
    groups = match.groupdict()
    gpu_group = next((name for name in ("g", "g2") if groups.get(name)), None)
    gpu_at = match.start(gpu_group) if gpu_group else None
    return Reading(
        n=number(shadow, groups.get("n") or groups.get("n2") or groups.get("n3")),
        p=number(shadow, groups.get("p")) or (1 if groups.get("one") else None),
        gpu=shadow.values[shadow.text[gpu_at]] if gpu_at is not None else None,
        gpu_at=gpu_at,
        span=shadow.span(*match.span()),
        low=number(shadow, groups.get("low")),
    )


def number(shadow: Shadow, text: str | None) -> int | None:
    """Return a whole number; articles count as one, fractions and absurd sizes as nothing."""
    if not text:
        return None
    value = shadow.values.get(text)
    if not isinstance(value, Decimal):
        return 1
    whole = int(value) if abs(value) <= MAX_COUNT else None
    return whole if whole is not None and whole == value else None
