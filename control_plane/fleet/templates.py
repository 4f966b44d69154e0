"""Job templates: what runs when a job names neither command nor image. The programs ship with the daemon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """A named program and how long it may run when the job does not say."""

    name: str
    description: str
    intent: str
    default_max_runtime_seconds: int


_HOUR = 3600


def stand_in(templates: Sequence[str]) -> str:
    """Return what a person should know whose goal names work, and no program that does it."""
    *others, last = [repr(template) for template in templates]
    run = f"templates {', '.join(others)} and {last} run" if others else f"template {last} runs"
    return (
        f"No program is named, so the built-in {run}: {_what(templates)} that ships with OrQuanta. To run your own, "
        "name its command: run `python train.py` on 2 H100 for 1 hour."
    )


def stood_in(template: str) -> str:
    """Return the same of a job that has run."""
    return f"it ran the built-in template {template!r}, {_what([template])}, because no program was named"


def _what(templates: Sequence[str]) -> str:
    """A demonstration, but for the one that truly measures a GPU."""
    return "a measurement of arithmetic and memory" if set(templates) == {"benchmark"} else "a small demonstration"


TEMPLATES: Mapping[str, JobTemplate] = MappingProxyType(
    {
        template.name: template
        for template in (
            JobTemplate(
                "train", "Trains a small model and prints its loss; averages gradients over a gang", "train", _HOUR
            ),
            JobTemplate("finetune", "Loads a checkpoint and trains it further", "finetune", _HOUR),
            JobTemplate("batch", "Works through a set of records and prints its progress", "batch", _HOUR),
            JobTemplate("inference", "Serves a small model over HTTP and reports its latency", "inference", _HOUR),
            JobTemplate("benchmark", "Measures arithmetic and memory speed", "benchmark", _HOUR),
        )
    }
)
