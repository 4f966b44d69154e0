"""Spoken language: model names said in words, articles for numbers, and corrections in mid-sentence."""

import re
from decimal import Decimal
from functools import partial

from control_plane.agents.orchestrator.planner.gpu import Gpu
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words

_NUMBER = mark(Kind.NUMBER)
_MODELS = (
    (r"a one hundred|a hundred(?=s)|ay one hundred", "A100"),
    (r"(?:h|aitch|age) (?:one )?hundred|h one (?:oh|zero) (?:oh|zero)", "H100"),
    (r"(?:h|aitch) two hundred", "H200"),
    (r"b two hundred", "B200"),
    (r"v (?:one )?hundred", "V100"),
    (r"a ten g", "A10G"),
    (r"a thirty", "A30"),
    (r"a forty", "A40"),
    (r"l forty s", "L40S"),
    (r"l forty", "L40"),
    (r"l four", "L4"),
    (r"t four", "T4"),
    (r"(?:r ?t ?x )?forty[ -]ninet(?:y|ie)|rtx four thousand ninety", "RTX4090"),
    (r"(?:r ?t ?x )?thirty[ -]ninet(?:y|ie)", "RTX3090"),
    (r"(?:r ?t ?x )?fifty[ -]ninet(?:y|ie)", "RTX5090"),
    (r"m ?i three hundred(?: x)?", "MI300X"),
)
_COUNTED_BEFORE = (
    r"(?:(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen|dozen|pair of|couple of|thirty-?two|single|"
    r"some|nvidia|with|on|an?|\d{1,4}|x|times|of) )"
)
_SPOKEN = tuple(
    (
        re.compile(rf"(?<![a-z0-9])(?:(?<=[a-z0-9] )(?:{names})(?:'?s|es|e's)|(?:{names}))(?:'?s|es)?(?![a-z0-9])"),
        model,
    )
    for names, model in _MODELS
)
_MONEY_AHEAD = re.compile(
    r" (?:and |thousand|million|dollars?|bucks?|euros?|pounds?|usd|eur|gpus?|hours?|days?|minutes?|percent|steps?|"
    r"epochs?|"
    r"nodes?|images?|[a-z]+ty(?![a-z]))"
)
_SURE = re.compile(rf"{_COUNTED_BEFORE}(?:(?:idle|spare|free|spot|cheap|dedicated|nvidia) )?$")

_CORRECTION = words(
    "no,? wait|wait,? no|no,? sorry|sorry|oops|whoops|scratch that|strike that|i mean|i meant|correction|uh no|no no|"
    "or rather|on second thoughts?|quatsch"
)
_MAYBE = words("no|actually|er|erm|well|better|rather|wait|hang on|hold on|nein|perdon|digo|non|pardon|anzi|scusa")
_MAKE = (
    r"(?:(?:make|let's make|better make|let's say|say|let's do|let's go with|i meant?|change|mach|pon|metti|mets)"
    r"(?: (?:that|it|this|them|daraus))?(?: to| be)? )"
)
_STOP = r"(?:[,.;:-]|\.\.\.)"
_FIX = (
    rf"(?:{_STOP}? ?(?:(?:{_MAYBE}|uh|um),? )?{_CORRECTION}{_STOP}? ?{_MAKE}?|"
    rf"{_STOP} ?{_MAYBE}{_STOP}? ?{_MAKE}?|{_STOP}? ?{_MAYBE}{_STOP}? ?{_MAKE}|{_STOP}? ?make (?:that|it) )"
)
_CORRECTED = re.compile(rf"(?P<old>{_NUMBER})(?P<middle>[^.;!?\n{_NUMBER[1:-1]}]{{0,32}}?){_FIX}(?P<new>{_NUMBER})")
_CORRECTED_GPU = re.compile(rf"(?P<old>{mark(Kind.GPU)})(?:s|'s| gpus?)?{_FIX}(?P<new>{mark(Kind.GPU)})")
_NEW_UNIT = re.compile(
    r"[ -]?(?:hours?|hrs?|h|days?|d|min(?:ute)?s?|weeks?|gpus?|cards?|nodes?|gb|gib|tb|dollars?|bucks?|euros?|eur|usd|"
    rf"pounds?|replicas?|boxe?s?|machines?|k|x|%|of|€|\$|pm|am|{mark(Kind.GPU)})(?![a-z])"
)
_HALF_OF = re.compile(r"(?<![a-z])half a (?P<what>dozen|hundred|thousand|grand|million)(?![a-z])")
_COUPLE_OF = re.compile(
    r"(?<![a-z])a (?P<times>couple|few)(?: of)? (?P<what>hundred|thousand|grand|million|dozen)(?![a-z])"
)
_TIMES_SAID = re.compile(rf"(?<={_NUMBER}) (?:times|mal|fois) (?=(?:{_NUMBER}|{mark(Kind.GPU)}))")
_TIMES = {"couple": 2, "few": 3}
_SIZES = {"dozen": 12, "hundred": 100, "thousand": 1000, "grand": 1000, "million": 1_000_000}


def recognise_spoken_gpus(shadow: Shadow) -> None:
    """Replace model names said in words (`four a one hundreds`) by marks with `Gpu` values."""
    for pattern, model in _SPOKEN:
        shadow.replace_all(pattern, Kind.GPU, partial(_spoken, shadow, model))


def _spoken(shadow: Shadow, model: str, match: re.Match[str]) -> Gpu | None:
    """Take a plural as it is; a singular only behind a number and with nothing else it could count."""
    text = shadow.text
    plural = match.group().endswith("s") and not match.group().endswith(" s")
    if plural and not _MONEY_AHEAD.match(text, match.end()):
        return Gpu(model)
    sure = _SURE.search(text[max(0, match.start() - 24) : match.start()])
    if sure is None or (match.group().startswith("a ") and _MONEY_AHEAD.match(text, match.end())):
        return None
    return Gpu(model)


def recognise_rough_numbers(shadow: Shadow) -> None:
    """Replace "half a dozen" and "a couple of thousand" by marks with `Decimal` values."""
    shadow.replace_all(_HALF_OF, Kind.NUMBER, lambda m: Decimal(_SIZES[m.group("what")]) / 2)
    shadow.replace_all(_COUPLE_OF, Kind.NUMBER, lambda m: Decimal(_SIZES[m.group("what")] * _TIMES[m.group("times")]))


def recognise_times(shadow: Shadow) -> None:
    """Write "two times eight" with a sign, as the grammar of GPU requests has it."""
    for match in reversed(list(_TIMES_SAID.finditer(shadow.text))):
        start, end = match.span()
        said = shadow.span(start, end)
        shadow.text = shadow.text[:start] + "x" + shadow.text[end:]
        shadow.spans = [*shadow.spans[:start], said, *shadow.spans[end:]]


def apply_corrections(shadow: Shadow) -> None:
    """Let "four A100, no wait, make that six" say six, and "A100, sorry, H100" an H100.

    A corrected value keeps its place; the words that correct it belong to the word before them.
    """
    for _ in range(_MAX_CORRECTIONS):
        match = _CORRECTED_GPU.search(shadow.text) or _CORRECTED.search(shadow.text)
        if match is None:
            return
        if "middle" in match.groupdict() and not _NEW_UNIT.match(shadow.text, match.end()):
            _move(shadow, match)
        else:
            _delete(shadow, match.start("old"), match.start("new"))


_MAX_CORRECTIONS = 4


def _move(shadow: Shadow, match: re.Match[str]) -> None:
    at, end_of_middle = match.start("old"), match.end("middle")
    last = end_of_middle - 1
    shadow.spans[last] = (shadow.spans[last][0], shadow.spans[match.start("new")][1])
    new = shadow.text[match.start("new")]
    _delete(shadow, end_of_middle, match.end("new"))
    shadow.text = shadow.text[:at] + new + shadow.text[at + 1 :]


def _delete(shadow: Shadow, start: int, end: int) -> None:
    shadow.text = shadow.text[:start] + shadow.text[end:]
    shadow.spans = shadow.spans[:start] + shadow.spans[end:]
