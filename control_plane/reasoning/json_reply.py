"""Finds and checks JSON in what a model wrote. Nothing in it is believed."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

DEPTH_MAX: Final = 24
_STARTS_MAX: Final = 8
_FENCE: Final = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)
_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)

JsonObject = dict[str, Any]  # Any: JSON


class NotJson(ValueError):
    """The text holds no JSON object that can be used; the message tells why, for the model's repair."""


def parse_object(text: str) -> JsonObject:
    """Return the JSON object in a reply: the whole text, a fenced block, or the first object in it.

    Raises NotJson for text without a whole object, NaN and infinite numbers, keys given twice, and nesting deeper than
    DEPTH_MAX.
    """
    text = _THOUGHT.sub("", text, count=1).strip()
    fence = _FENCE.search(text)
    body = fence.group(1).strip() if fence and not text.startswith("{") else text
    fault = NotJson("it holds no JSON object")
    start = body.find("{")
    for _ in range(_STARTS_MAX):
        if start < 0:
            break
        try:
            value, _end = _DECODER.raw_decode(body, start)
        except _Refused as error:
            raise NotJson(str(error)) from None
        except (ValueError, RecursionError) as error:
            # The outermost start tells the most; a later one only helps with a brace in the prose before the object.
            if str(fault) == "it holds no JSON object":
                fault = NotJson(f"it is not whole JSON ({_brief(error)})")
            start = body.find("{", start + 1)
            continue
        if _depth(value) > DEPTH_MAX:
            raise NotJson(f"it is nested deeper than {DEPTH_MAX}")
        if isinstance(value, dict):
            return value
    raise fault


class _Refused(Exception):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a key is given twice")
    return found


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not a number of JSON")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("a number is too large")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)


def _brief(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]


def _depth(value: object) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        item, depth = pending.pop()
        deepest = max(deepest, depth)
        if depth > DEPTH_MAX:
            return depth
        children = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else ()
        pending.extend((child, depth + 1) for child in children)
    return deepest
