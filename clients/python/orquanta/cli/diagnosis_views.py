"""How a diagnosis is shown to a person."""

from orquanta.cli.formats import clean, moment, or_dash
from orquanta.cli.output import Output
from orquanta.types.diagnoses import Diagnosis


def print_diagnosis(output: Output, diagnosis: Diagnosis) -> None:
    """The cause first, then what to do, then the evidence."""
    output.fields(
        [
            ("cause", _cause(diagnosis)),
            ("why", diagnosis.summary),
            ("advice", diagnosis.advice),
            ("could also be", ", ".join(diagnosis.alternatives)),
            ("found by", _finder(diagnosis)),
            ("note", diagnosis.note),
        ]
    )
    if diagnosis.evidence:
        output.say()
        output.table(
            ("evidence", "when", "what it says"),
            [(item.id, or_dash(moment(item.seen_at)), clean(item.text)) for item in diagnosis.evidence],
            empty="",
        )


def print_cause(output: Output, diagnosis: Diagnosis) -> None:
    """The same as a part of another page, with the ids of the evidence alone."""
    cited = ", ".join(item.id for item in diagnosis.evidence)
    for name, text in (
        ("", f"{_cause(diagnosis)}: {diagnosis.summary}"),
        ("advice: ", diagnosis.advice),
        ("could also be: ", ", ".join(diagnosis.alternatives)),
        ("found by: ", _finder(diagnosis)),
        ("note: ", diagnosis.note),
        ("evidence: ", cited),
    ):
        if text:
            output.block(f"{name}{text}", indent=2)


def _finder(diagnosis: Diagnosis) -> str:
    return diagnosis.diagnosed_by if diagnosis.by_rules else f"{diagnosis.diagnosed_by}, a model"


def _cause(diagnosis: Diagnosis) -> str:
    if diagnosis.fault == "unknown":
        return diagnosis.cause
    return f"{diagnosis.cause} (fault of the {diagnosis.fault}), {diagnosis.confidence:.0%} sure"
