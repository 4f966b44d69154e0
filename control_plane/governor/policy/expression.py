"""A CEL condition: compiled once, asked often. The only module that knows the CEL library."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any, Final

from control_plane.governor.policy.analysis import analyse

# The library's own command line, which it loads unasked: 190 modules for terminals, a tenth of a second of each start.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402 - after the line above

_TEXT_MAX: Final = 300
_VALUES_CHARACTERS_MAX: Final = 4000


class BadExpression(ValueError):
    """The text is not a condition that a rule may have; `wrong` has a line for each reason."""

    def __init__(self, wrong: tuple[str, ...]) -> None:
        super().__init__("; ".join(wrong))
        self.wrong = wrong


class EvaluationFailed(Exception):
    """The condition has no answer for these values."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition. `paths` are the values of the input that it looks at."""

    text: str
    paths: tuple[str, ...]
    program: cel.Program


class Values:
    """One input, ready to be asked about by many conditions."""

    def __init__(self, document: Mapping[str, Any]) -> None:  # Any: nested JSON
        self.document = document
        self._context = cel.Context(variables={**document, "time": _moments(document.get("time"))})

    def holds(self, expression: Expression) -> bool:
        """Tell whether a condition holds. Raises EvaluationFailed for any error, and for an answer that is no bool."""
        try:
            answer = expression.program.execute(self._context)
        except Exception as error:
            raise EvaluationFailed(_reason(error)) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # the library's own word for a bug in it
                raise
            raise EvaluationFailed("the CEL library failed") from error
        if not isinstance(answer, bool):
            raise EvaluationFailed(f"it is a {type(answer).__name__}, not true or false")
        return answer

    def seen(self, expression: Expression) -> str:
        """Return the values that a condition looks at, as JSON of at most 4,000 characters."""
        found: dict[str, Any] = {}  # Any: nested JSON
        for path in expression.paths:
            value: Any = self.document  # Any: nested JSON
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            found[path] = value
        text = json.dumps(found, sort_keys=True, ensure_ascii=False)
        if len(text) <= _VALUES_CHARACTERS_MAX:
            return text
        short = {path: value for path, value in found.items() if not isinstance(value, Mapping | list | tuple)}
        text = json.dumps({**short, "left out": "what is too long"}, sort_keys=True, ensure_ascii=False)
        return text if len(text) <= _VALUES_CHARACTERS_MAX else "{}"


def compiled(text: str) -> Expression:
    """Return a condition. Raises BadExpression."""
    found = analyse(text)
    if found.wrong:
        raise BadExpression(found.wrong)
    try:
        program = cel.compile(text)
    except Exception as error:
        raise BadExpression((_reason(error),)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise BadExpression(("the CEL library cannot read it",)) from error
    return Expression(text, found.paths, program)


def _moments(time: Any) -> Any:  # Any: nested JSON
    """Times are text in JSON, and times in CEL."""
    if not isinstance(time, Mapping) or not isinstance(time.get("now"), str):
        return time
    return {**time, "now": datetime.fromisoformat(time["now"])}


def _reason(error: BaseException) -> str:
    """Return what a library's error says, in one line and without the expression that it repeats."""
    text = str(error).strip()
    if isinstance(error, KeyError):
        return f"there is no key {text}; ask first with: {text} in ..."
    if "ERROR: " in text:
        text = text[text.index("ERROR: ") + len("ERROR: ") :]
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:_TEXT_MAX]
