"""Relative sizes: "halve pool eval, it has 12 T4" comes to 6."""

import re
from dataclasses import replace
from fractions import Fraction

from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words

_FACTORS = (
    (
        Fraction(1, 2),
        words("halve|halving|in half|by half|half the size|halbier(?:e|en)|reduce a la mitad|dimezza", "减半|半減"),
    ),
    (
        Fraction(2),
        words(
            "double|doubling|twice (?:as (?:many|big|large)|the size)|verdopp(?:le|eln)|duplica(?:r)?|double[rz]|"
            "raddoppia",
            "翻倍|倍増",
        ),
    ),
    (Fraction(3), words("triple|tripling|treble|verdreifach(?:e|en)|triplica(?:r)?|triple[rz]")),
    (Fraction(4), words("quadruple|vervierfach(?:e|en)")),
)
_PRESENT = re.compile(
    words(
        "has|have|had|currently|current|now|today|at the moment|right now|with|runs|runs on|there are|there're|from|of|"
        "is at|sits at|"
        "at present|hat|derzeit|momentan|aktuell|tiene|actualmente|ahora|compte|actuellement|ha|attualmente",
        "现在|目前|有|現在",
    )
    + r"(?: (?:\S{1,12}))? ?[:(]? ?$"
)
_TARGET = re.compile(rf"(?<![a-z])(?:to|auf|a|hasta|down to|up to|at) {mark(Kind.NUMBER)}")


def resized(shadow: Shadow, gpu: GpuFacts) -> GpuFacts:
    """Return the GPUs a pool shall have, where a goal says what it has and by how much that changes."""
    if gpu.count is None or _TARGET.search(shadow.text):
        return gpu
    start = gpu.count.spans[0][0]
    at = next((index for index, span in enumerate(shadow.spans) if span[0] == start), None)
    if at is None or not (_PRESENT.search(shadow.text[max(0, at - 32) : at]) or shadow.text[at - 1 : at] == "("):
        return gpu
    for factor, pattern in _FACTORS:
        match = re.search(pattern, shadow.text)
        wanted = gpu.count.value * factor
        if match and wanted.denominator == 1:
            return replace(gpu, count=Fact(int(wanted), (shadow.span(*match.span()), *gpu.count.spans)))
    return gpu
