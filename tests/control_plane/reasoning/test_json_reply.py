import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.reasoning.json_reply import NotJson, parse_object
from control_plane.reasoning.schema import fitted, strict
from control_plane.reasoning.tokens import estimate_tokens

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
OBJECT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 10},
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "maxItems": 3},
    },
    "required": ["name"],
    "$defs": {
        "part": {"type": "object", "properties": {"share": {"type": "number"}}, "required": ["share"]},
    },
}


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.text("abc .,:\n", max_size=30))
def test_an_object_is_found_between_any_prose(value: dict[str, Any], prose: str) -> None:
    assert parse_object(f"{prose}{json.dumps(value)}{prose}") == value


@given(st.text(max_size=300) | st.text('{}[]",:0123456789.eE-NaIfty\\ntrue', max_size=300))
def test_any_text_is_an_object_or_told_to_be_none(text: str) -> None:
    with contextlib.suppress(NotJson):
        assert isinstance(parse_object(text), dict)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "a", "count": None, "parts": [{"share": 0.5}, {"share": 1}]},
        {"name": "a", "count": 5},
    ],
    ids=["whole", "few"],
)
def test_data_that_fits_is_kept_as_it_is(data: dict[str, Any]) -> None:
    assert fitted(OBJECT, data) == data
    assert fitted(strict(OBJECT), {"count": None, "parts": None, **data})["name"] == "a"


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"name": 5},
        {"name": "much too long"},
        {"name": "a", "count": "5"},
        {"name": "a", "count": 10**12},
        {"name": "a", "parts": [{}]},
        {"name": "a", "parts": [{"share": True}]},
        {"name": "a", "parts": [{"share": 1}] * 4},
    ],
    ids=range(8),
)
def test_data_that_does_not_fit_is_named_with_its_place(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"name|count|parts|lacks"):
        fitted(OBJECT, data)


@given(JSON)
def test_any_data_fits_or_is_refused(value: Any) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(fitted(OBJECT, {"name": value, "count": value, "parts": value}), dict)


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_is_never_fewer_tokens(first: str, second: str) -> None:
    assert estimate_tokens(first + second) >= max(estimate_tokens(first), estimate_tokens(second))
