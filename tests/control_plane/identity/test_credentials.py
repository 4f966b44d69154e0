import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import Unauthenticated
from control_plane.identity.ca import CertificateAuthority
from control_plane.identity.credentials import (
    Credentials,
    looks_like_api_key,
    parse_api_key,
    parse_join_token,
    secret_matches,
)
from control_plane.model.ids import KEY, TOKEN, KeyId, TokenId, derived_id, new_id
from tests.control_plane.identity.conftest import reason_of

keys = st.binary(min_size=32, max_size=32)
key_ids = st.text().map(lambda text: derived_id(KEY, text))


@given(keys, key_ids)
def test_api_key_can_be_taken_apart_and_matches_what_is_stored(server_key: bytes, key_id: KeyId) -> None:
    issued = Credentials(server_key).api_key(key_id)
    presented = parse_api_key(issued.text)

    assert presented.key_id == key_id
    assert secret_matches(presented.secret, issued.secret_sha256)
    assert issued.secret_sha256 == hashlib.sha256(presented.secret).digest()
    assert looks_like_api_key(issued.text)


@given(keys, key_ids, key_ids)
def test_api_key_is_the_same_for_the_same_id_alone(server_key: bytes, first: KeyId, second: KeyId) -> None:
    made, again, other = (Credentials(server_key).api_key(key_id) for key_id in (first, first, second))
    assert made == again
    assert (made.secret_sha256 == other.secret_sha256) == (first == second)


def test_another_servers_key_makes_other_secrets() -> None:
    key_id = new_id(KEY)
    assert Credentials(bytes(32)).api_key(key_id) != Credentials(b"1" * 32).api_key(key_id)


def test_join_token_carries_the_certificate_of_the_ca(ca: CertificateAuthority) -> None:
    token_id = new_id(TOKEN)
    issued = Credentials(bytes(32)).join_token(token_id, ca.root_der)
    presented = parse_join_token(issued.text)

    assert (presented.token_id, presented.ca_certificate_der) == (token_id, ca.root_der)
    assert secret_matches(presented.secret, issued.secret_sha256)
    assert issued == Credentials(bytes(32)).join_token(token_id, ca.root_der)
    assert len(issued.text) < 1024
    assert not looks_like_api_key(issued.text)


def test_secrets_of_different_kinds_differ_for_ids_that_look_alike(ca: CertificateAuthority) -> None:
    credentials = Credentials(bytes(32))
    key = credentials.api_key(KeyId("t-0123456789ab"))
    token = credentials.join_token(TokenId("t-0123456789ab"), ca.root_der)
    assert key.secret_sha256 != token.secret_sha256


@pytest.mark.parametrize(
    ("secret", "stored"),
    [(b"right", None), (b"wrong", hashlib.sha256(b"right").digest()), (b"", bytes(32)), (b"right", b"")],
)
def test_wrong_secret_and_unknown_record_do_not_match(secret: bytes, stored: bytes | None) -> None:
    assert not secret_matches(secret, stored)


def good_key() -> str:
    return Credentials(bytes(32)).api_key(KeyId("k-0123456789ab")).text


Change = Callable[[str], str]

CHANGES: list[Change] = [
    lambda _: "",
    lambda _: "oqk_",
    lambda _: "oqj_",
    lambda _: "oqk___",
    lambda text: text[:-1],
    lambda text: text + "x",
    lambda text: text + "_x",
    lambda text: text + " ",
    lambda text: text + "\n",
    lambda text: text.upper(),
    lambda text: text.replace("oqk_", "oqx_").replace("oqj_", "oqx_"),
    lambda text: text.replace("-0123456789ab", "-0123456789ai"),
    lambda text: text.replace("-0123456789ab", "-*"),
    lambda text: text.replace("_", ""),
    lambda text: text[:20] + "1" + text[21:],
    lambda text: text[:20] + "é" + text[21:],
    lambda text: text + "A" * 1_000_000,
]


@pytest.mark.parametrize("change", CHANGES)
def test_api_key_of_another_form_is_refused(change: Change) -> None:
    assert reason_of(lambda: parse_api_key(change(good_key()))) == "API_KEY_INVALID"


@pytest.mark.parametrize(
    "change",
    [
        *(change for number, change in enumerate(CHANGES) if number not in {5, 6}),
        lambda text: text.rsplit("_", 1)[0],
        lambda text: text + "=",
        lambda text: text[:-20],
        lambda text: text[:100] + "AAAA",
    ],
)
def test_join_token_of_another_form_is_refused(ca: CertificateAuthority, change: Change) -> None:
    good = Credentials(bytes(32)).join_token(TokenId("t-0123456789ab"), ca.root_der).text
    assert parse_join_token(good).token_id == "t-0123456789ab"
    assert reason_of(lambda: parse_join_token(change(good))) == "JOIN_TOKEN_INVALID"


@given(st.text())
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    for start, parse in (("oqk_", parse_api_key), ("oqj_", parse_join_token)):
        for hostile in (text, start + text, f"{start}k-0123456789ab_{text}", f"{start}t-0123456789ab_{text}"):
            with pytest.raises(Unauthenticated):
                parse(hostile)


def test_secrets_stay_out_of_representations_and_messages(ca: CertificateAuthority) -> None:
    issued = Credentials(bytes(32)).api_key(new_id(KEY))
    secret = issued.text.rsplit("_", 1)[1]
    assert secret not in repr(issued)
    assert repr(parse_api_key(issued.text).secret) not in repr(parse_api_key(issued.text))
    with pytest.raises(Unauthenticated) as caught:
        parse_api_key(issued.text + "x")
    assert secret not in caught.value.message
