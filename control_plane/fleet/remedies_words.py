"""What people are told and asked about a failed job's remedies. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from control_plane.fleet.cost import estimate_usd
from control_plane.fleet.prices import PriceTable
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.job import JobSpec
from control_plane.model.money import format_usd

_HOUR = 3_600
_TIME_LIMIT = "TIME_LIMIT"
_GPU_MEMORY = "GPU_OUT_OF_MEMORY"


def sentence(text: str) -> str:
    """Return a text as a sentence: with a capital, unless it begins with a name, and with an end."""
    text = text.strip()
    if not text:
        return ""
    first = text.split(maxsplit=1)[0]
    named = any(not character.isalpha() for character in first.rstrip(".,:;'")) or first != first.lower()
    text = text if named else text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def duration(seconds: float) -> str:
    """Return a time for a person: "1 hour", "90 minutes", "45 seconds"."""
    whole = max(round(seconds), 0)
    for size, name in ((86_400, "day"), (_HOUR, "hour"), (60, "minute")):
        if whole >= size and whole % size == 0:
            return f"{whole // size} {name}" + ("s" if whole != size else "")
    if whole >= 2 * _HOUR:
        return f"{whole / _HOUR:.1f} hours"
    if whole > 2 * 60:
        return f"{round(whole / 60)} minutes"
    return f"{whole} second" + ("s" if whole != 1 else "")


def gigabytes(memory_bytes: int) -> str:
    """Return memory for a person."""
    return f"{memory_bytes / 10**9:.0f} GB" if memory_bytes >= 10**9 else f"{memory_bytes / 10**6:.0f} MB"


def advice(spec: JobSpec, diagnosis: Diagnosis) -> str:
    """Return why nothing is run in a job's place, and what a person can do."""
    told = "running it again as it was would not help"
    if diagnosis.cause == _GPU_MEMORY and spec.resources.gpu_count:
        told += ", and this fleet has not enough GPUs with more memory that it may use"
    return f"{told}; {diagnosis.advice}" if diagnosis.advice else told


def bound(replans_most: int) -> str:
    """Return that a goal's failed jobs were run again as often as they may be."""
    if not replans_most:
        return "the settings let no failed job be run again (run_replans_max is 0)"
    often = {1: "once", 2: "twice"}.get(replans_most, f"{replans_most} times")
    return f"jobs of this goal were run again {often} already, and that is the limit (run_replans_max)"


def deadline(left_seconds: float, last_seconds: float) -> str:
    """Return that the goal's deadline leaves too little time."""
    if left_seconds <= 0:
        return "the goal's deadline has passed"
    return f"the goal's deadline is in {duration(left_seconds)}, and the last try took {duration(last_seconds)} to fail"


def question(spec: JobSpec, diagnosis: Diagnosis, prices: PriceTable) -> str:
    """Return what the person is asked about a job whose cause is theirs to settle."""
    hour = estimate_usd(replace(spec, max_runtime_seconds=_HOUR), prices)
    if diagnosis.cause == _TIME_LIMIT:
        costs = f"More time costs more money, at most {format_usd(hour)} an hour." if hour else ""
        return (
            f"{spec.name} reached its time limit of {duration(spec.max_runtime_seconds)}. {costs} Answer with a time, "
            "such as '2 hours', to run it again with that limit, or 'stop' to leave it."
        ).replace("  ", " ")
    says = "" if diagnosis.by_rules else f"{diagnosis.diagnosed_by}, a model, says: "
    return (
        f"{spec.name} has failed: {says}{sentence(diagnosis.summary)} {sentence(diagnosis.advice)} Answer 'again' once "
        f"that is settled, to run it again{_at_most(estimate_usd(spec, prices))}, or 'stop' to leave it."
    )


def other_models(
    spec: JobSpec, gpu_type: str, memory_bytes: int, fitting: Mapping[str, int], prices: PriceTable
) -> str:
    """Return what the person is asked who has named a model whose memory is too small."""
    offers = [
        f"{one} with {gigabytes(memory)} for {format_usd(prices.usd_per_gpu_hour(one))} a GPU-hour"
        for one, memory in sorted(fitting.items())
    ]
    names = " or ".join(f"'{one}'" for one in sorted(fitting))
    return (
        f"{spec.name} needs more GPU memory than the {gigabytes(memory_bytes)} of {gpu_type or 'its GPUs'}, the model "
        f"that was named. This fleet has {', '.join(offers)}. Answer {names} to run it again there, or 'stop' to leave "
        "it."
    )


def more_than_agreed(spec: JobSpec, diagnosis: Diagnosis, how: str, full_usd: Decimal) -> str:
    """Return what the person is asked where another try could go beyond the time that was agreed."""
    return (
        f"{spec.name} has failed: {sentence(diagnosis.summary)} Too little is left of the "
        f"{duration(spec.max_runtime_seconds)} that was agreed. Answer 'again' to have it {how}, for as long"
        f"{_at_most(full_usd)}; with a time such as '2 hours' to have it for that long; or with 'stop' to leave it."
    )


def _at_most(usd: Decimal) -> str:
    return f" for at most {format_usd(usd)}" if usd else ""
