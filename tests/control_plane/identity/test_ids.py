import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import InvalidArgument
from control_plane.model.ids import (
    ACTION,
    ALLOCATION,
    GOAL,
    JOB,
    KEY,
    NODE,
    TOKEN,
    Prefix,
    derived_id,
    derived_user_id,
    new_id,
    new_user_id,
    parse_id,
    parse_user_id,
)

PREFIXES: list[Prefix[str]] = [GOAL, JOB, ALLOCATION, NODE, ACTION, TOKEN, KEY]  # type: ignore[list-item] # each has its own type

prefixes = st.sampled_from(PREFIXES)
parts = st.lists(st.text(), max_size=4)


@given(prefixes)
def test_fresh_id_parses_as_its_own_kind(prefix: Prefix[str]) -> None:
    made = new_id(prefix)
    assert parse_id(prefix, made) == made
    assert len(made) == len(prefix.text) + 13


@given(prefixes, parts)
def test_derived_id_is_the_same_each_time_and_parses(prefix: Prefix[str], given_parts: list[str]) -> None:
    made = derived_id(prefix, *given_parts)
    assert made == derived_id(prefix, *given_parts)
    assert parse_id(prefix, made) == made


@given(parts, parts)
def test_different_parts_give_different_ids(first: list[str], second: list[str]) -> None:
    assert (derived_id(JOB, *first) == derived_id(JOB, *second)) == (first == second)
    assert (derived_user_id(*first) == derived_user_id(*second)) == (first == second)


def test_ids_do_not_repeat() -> None:
    assert len({new_id(JOB) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("other", PREFIXES)
def test_id_of_another_kind_is_refused(prefix: Prefix[str], other: Prefix[str]) -> None:
    made = new_id(other)
    if prefix is other:
        assert parse_id(prefix, made) == made
    else:
        with pytest.raises(InvalidArgument):
            parse_id(prefix, made)


@given(st.text(alphabet=string.printable + "é٠𝟘\u2028", max_size=20))
def test_anything_else_after_the_prefix_is_refused(body: str) -> None:
    canonical = len(body) == 12 and set(body) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    if not canonical:
        with pytest.raises(InvalidArgument) as caught:
            parse_id(JOB, f"j-{body}")
        assert caught.value.reason == "ID_INVALID"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "j",
        "j-",
        "j-0123456789a",
        "j-0123456789abc",
        "j-0123456789aB",
        "j-0123456789ai",
        "j-0123456789a.",
        "j-0123456789a*",
        "j-0123456789ab\n",
        " j-0123456789ab",
        "j-0123456789ab.>",
        "J-0123456789ab",
        "j_0123456789ab",
        "j-" + "0" * 10_000_000,
    ],
)
def test_hostile_id_is_refused_with_a_short_message(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_id(JOB, text)
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message


def test_user_ids_are_version_4_uuids() -> None:
    for made in (new_user_id(), derived_user_id("a", "b")):
        assert parse_user_id(made) == made
        assert uuid.UUID(made).version == 4


@pytest.mark.parametrize("text", ["", "x", "0B8F3C1E-6A54-4C0E-9D0A-1F5F6A7B8C9D", "0b8f3c1e6a544c0e9d0a1f5f6a7b8c9d"])
def test_user_id_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_user_id(text)
