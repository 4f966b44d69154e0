"""Comparisons: "compare H100 with MI300X" is one job for each GPU model, none of which waits for another."""

import re
from dataclasses import replace

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts
from control_plane.agents.orchestrator.planner.job_facts import JobFacts
from control_plane.agents.orchestrator.planner.preferences import excluded_marks
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.model.plan import Intent

_N, _G = mark(Kind.NUMBER), mark(Kind.GPU)
_ONE = rf"(?:(?P<n{{0}}>{_N}) ?x? ?|an? |the |one )?(?P<g{{0}}>{_G})(?:'?s)?(?: (?:gpus?|cards?|nodes?))?"
_AGAINST = (
    r" ?(?:,? ?(?:vs\.?|versus|against|with|to|and(?: then)?(?: on)?|und|mit|gegen|y|con|contra|frente a|et|avec|"
    r"contre|e|com|"
    r"&|/|,|和|与|跟|对比|と) ?(?:on )?)"
)
_PAIR = re.compile(_ONE.format(1) + _AGAINST + _ONE.format(2) + rf"(?:(?:{_AGAINST})" + _ONE.format(3) + ")?")
_COMPARES = re.compile(
    words(
        "compar(?:e|es|ing|ison)|vs\\.?|versus|head[- ]to[- ]head|side by side|against each other|"
        "which (?:one )?is faster|"
        "difference between|each|both|a/b",
        "vergleich(?:e|en)?|gegen|compara(?:r)?|compare[rz]?|comparer|confronta(?:re)?",
        "对比|比较|比較",
    )
)
_EACH = re.compile(
    rf"(?P<n>{_N}|(?<![a-z])an?|(?<![a-z])one)(?: gpus?| cards?)? (?:of each|each|apiece|per type|je(?![a-z])|de cada|"
    rf"de chaque|di ciascun)(?![a-z])|(?P<n2>{_N})枚?ずつ"
)


def split_comparison(shadow: Shadow, job: JobFacts) -> tuple[JobFacts, ...]:
    """Return one job for each model of a benchmark that compares some, or the job as it is."""
    if job.intent is not Intent.BENCHMARK or not _COMPARES.search(shadow.text):
        return (job,)
    match = _PAIR.search(shadow.text)
    negated = excluded_marks(shadow)
    if match is None or any(index in negated for index in range(*match.span())):
        return (job,)
    sides = [str(number) for number in (1, 2, 3) if match.group(f"g{number}")]
    models = {shadow.values[match.group(f"g{side}")].model for side in sides}
    if len(models) < len(sides):
        return (job,)
    return tuple(_side(shadow, match, side, job) for side in sides)


def _side(shadow: Shadow, match: re.Match[str], side: str, job: JobFacts) -> JobFacts:
    at = match.start(f"g{side}")
    gpu = shadow.values[shadow.text[at]]
    where = shadow.span(at, at + 1)
    memory = Fact(gpu.memory_gb * 10**9, (where,)) if gpu.memory_gb is not None else None
    facts = GpuFacts(gpu_type=Fact(gpu.model, (where,)), count=_count(shadow, match, side), min_memory_bytes=memory)
    return replace(job, gpu=facts, word=gpu.model.lower(), depends_on=())


def _count(shadow: Shadow, match: re.Match[str], side: str) -> Fact[int] | None:
    said = match.group(f"n{side}")
    if said:
        start = match.start(f"n{side}")
        return Fact(int(shadow.values[said]), (shadow.span(start, start + 1),))
    each = _EACH.search(shadow.text)
    if each is None:
        return None
    value = shadow.values.get(each.group("n") or each.group("n2"), 1)
    return Fact(int(value), (shadow.span(*each.span()),))
