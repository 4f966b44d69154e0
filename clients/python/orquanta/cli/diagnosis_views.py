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
            ("found by", diagnosis.diagnosed_by),
        ]
    )
    if diagnosis.evidence:
        output.say()
        output.table(
            ("evidence", "when", "what it says"),
            [(item.id, or_dash(moment(item.seen_at)), clean(item.text)) for item in diagnosis.evidence],
            empty="",
        )


def _cause(diagnosis: Diagnosis) -> str:
    if diagnosis.fault == "unknown":
        return diagnosis.cause
    return f"{diagnosis.cause} (fault of the {diagnosis.fault}), {diagnosis.confidence:.0%} sure"
