import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.store.documents import HOST_INVENTORY, host_inventory
from control_plane.store.readable import NotJson, Unreadable, from_json
from tests.control_plane.world import gpus, inventory


def test_what_a_host_is_made_of_is_the_same_read_from_text_and_from_json() -> None:
    made = inventory("alpha", gpus("alpha", 2))
    document = HOST_INVENTORY.dump(made)
    assert host_inventory(document) == host_inventory(json.dumps(document)) == made


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"hostname": 3}', '{"hostname": "\\ud800"}'])
def test_a_text_that_holds_no_host_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match="what the host is made of"):
        host_inventory(text)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_ANYTHING)
def test_a_column_says_what_was_written_into_it(value: object) -> None:
    assert repr(from_json(json.dumps(value))) == repr(value)


def test_a_column_may_hold_what_is_nested_deep_and_half_a_surrogate_pair() -> None:
    text = "[" * 300 + '"\\ud800"' + "]" * 300
    assert from_json(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{'a': 1}", "nul"])
def test_a_column_that_holds_no_json_is_said_to_hold_none(text: str) -> None:
    assert isinstance(from_json(text), NotJson)
