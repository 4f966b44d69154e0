import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import Unauthenticated
from control_plane.identity.tokens import AccessTokens
from control_plane.model.identity import CredentialKind, Role
from control_plane.model.ids import new_user_id
from tests.control_plane.identity.conftest import START, ManualClock, reason_of

KEY = bytes(range(32))
USER = new_user_id()


@pytest.fixture
def tokens(clock: ManualClock) -> AccessTokens:
    return AccessTokens(KEY, clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(START.timestamp())
    made = {
        "iss": "orquanta",
        "aud": "orquanta",
        "iat": now,
        "exp": now + 900,
        "sub": USER,
        "email": "a@example.com",
        "role": "user",
        "jti": "1",
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


@given(st.emails(), st.sampled_from(Role))
def test_token_stands_for_the_person_it_was_issued_to(email: str, role: Role) -> None:
    tokens = AccessTokens(KEY, clock=ManualClock())
    token = tokens.issue(USER, email, role)
    person = tokens.verify(token.text)

    assert (person.user_id, person.email, person.role) == (USER, email, role)
    assert (person.credential, person.credential_id) == (CredentialKind.ACCESS_TOKEN, token.token_id)
    assert tokens.verify(token.text) is person


def test_token_lives_fifteen_minutes_and_the_leeway_whether_remembered_or_not(
    tokens: AccessTokens, clock: ManualClock
) -> None:
    token = tokens.issue(USER, "a@example.com", Role.USER)
    tokens.verify(token.text)
    assert token.expires_at == START + timedelta(minutes=15)

    clock.advance(seconds=929)
    AccessTokens(KEY, clock=clock).verify(token.text)
    tokens.verify(token.text)
    clock.advance(seconds=1)
    assert reason_of(lambda: tokens.verify(token.text)) == "TOKEN_EXPIRED"
    assert reason_of(lambda: AccessTokens(KEY, clock=clock).verify(token.text)) == "TOKEN_EXPIRED"


def test_remembered_tokens_are_bounded_and_the_least_used_goes_first(clock: ManualClock) -> None:
    tokens = AccessTokens(KEY, clock=clock, cache_size=2)
    first, second, third = (tokens.issue(USER, "a@example.com", Role.USER).text for _ in range(3))
    for text in (first, second, first, third):
        tokens.verify(text)
    assert set(tokens._verified) == {first, third}


def test_refused_tokens_are_not_remembered(tokens: AccessTokens) -> None:
    for number in range(10):
        assert reason_of(lambda n=number: tokens.verify(f"garbage{n}")) == "TOKEN_INVALID"  # type: ignore[misc] # bound now
    assert len(tokens._verified) == 0


def test_claims_that_are_right_are_accepted_when_signed_by_hand(tokens: AccessTokens) -> None:
    assert tokens.verify(jwt.encode(claims(), KEY)).role is Role.USER


@pytest.mark.parametrize("clock_error_seconds", [30, 29, -30])
def test_clock_of_another_control_plane_may_differ_by_the_leeway(
    tokens: AccessTokens, clock: ManualClock, clock_error_seconds: int
) -> None:
    clock.advance(seconds=-clock_error_seconds)
    tokens.verify(jwt.encode(claims(), KEY))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"aud": ["orquanta", "other"]},
        {"iat": int(START.timestamp()) + 31},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e18},
        {"exp": 10**30},
        {"iat": "yesterday"},
        {"sub": "not-a-user-id"},
        {"sub": 7},
        {"role": "root"},
        {"role": ["admin"]},
        {"email": None},
        {"jti": 7},
        *({name: ...} for name in ("iss", "aud", "iat", "exp", "sub", "email", "role", "jti")),
    ],
)
def test_wrong_or_missing_claims_are_refused(tokens: AccessTokens, changes: dict[str, Any]) -> None:
    try:
        text = jwt.encode(claims(**changes), KEY)
    except TypeError:  # PyJWT itself refuses to write some of them
        text = _by_hand(claims(**changes))
    assert reason_of(lambda: tokens.verify(text)) == "TOKEN_INVALID"


def _by_hand(payload: dict[str, Any]) -> str:
    good = jwt.encode(claims(), KEY)
    signed = good.split(".")[0] + "." + _encode(json.dumps(payload).encode())
    return (
        signed
        + "."
        + _encode(jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed.encode(), KEY))
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned() -> str:
    return _encode(b'{"alg":"none","typ":"JWT"}') + "." + _encode(json.dumps(claims()).encode()) + "."


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "garbage",
        "é.é.é",
        "\ud800",
        "a" * 1_000_000,
        unsigned(),
        jwt.encode(claims(), bytes(32)),
        jwt.encode(claims(), KEY * 2, algorithm="HS512"),
        jwt.encode(claims(), KEY)[:-2],
        jwt.encode(claims(), KEY) + "x",
        "oqk_k-0123456789ab_secret",
    ],
)
def test_text_that_is_no_token_of_ours_is_refused(tokens: AccessTokens, text: str) -> None:
    assert reason_of(lambda: tokens.verify(text)) == "TOKEN_INVALID"


@given(st.text())
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(Unauthenticated):
        AccessTokens(KEY, clock=ManualClock()).verify(text)


@given(st.data())
def test_changing_any_character_of_a_token_makes_it_invalid(data: st.DataObject) -> None:
    tokens = AccessTokens(KEY, clock=ManualClock())
    text = jwt.encode(claims(sub="0b8f3c1e-6a54-4c0e-9d0a-1f5f6a7b8c9d"), KEY)
    index = data.draw(st.integers(0, len(text) - 2))  # the last character has bits that do not count
    other = data.draw(st.sampled_from([c for c in "AZaz09_-." if c != text[index]]))
    with pytest.raises(Unauthenticated):
        tokens.verify(text[:index] + other + text[index + 1 :])


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_key_of_another_size_is_a_mistake(clock: ManualClock, size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        AccessTokens(bytes(size), clock=clock)


def test_token_stays_out_of_the_representation(tokens: AccessTokens) -> None:
    token = tokens.issue(USER, "a@example.com", Role.USER)
    assert token.text not in repr(token)
