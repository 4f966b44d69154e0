import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.identity.passwords import PasswordCheck, Passwords
from tests.control_plane.identity.conftest import reason_of

CHEAP = Passwords(time_cost=1, memory_kib=8, parallelism=1)
RIGHT = PasswordCheck(ok=True, needs_rehash=False)
WRONG = PasswordCheck(ok=False, needs_rehash=False)


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=40, max_size=60))
def test_password_that_was_hashed_is_right_and_others_are_wrong(password: str) -> None:
    stored = CHEAP.hash(password)
    assert CHEAP.verify(stored, password) == RIGHT
    assert CHEAP.verify(stored, password + "x") == WRONG
    assert password not in stored


def test_hashes_of_one_password_differ() -> None:
    assert CHEAP.hash("correct horse battery") != CHEAP.hash("correct horse battery")


def test_default_is_argon2id_with_64_mebibytes() -> None:
    stored = Passwords().hash("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert Passwords().verify(stored, "correct horse battery") == RIGHT


def test_hash_with_other_costs_is_right_and_asks_for_a_fresh_one() -> None:
    stored = Passwords(time_cost=2, memory_kib=16, parallelism=1).hash("correct horse battery")
    assert CHEAP.verify(stored, "correct horse battery") == PasswordCheck(ok=True, needs_rehash=True)
    assert CHEAP.verify(stored, "wrong horse battery") == WRONG


def test_unknown_user_is_wrong_whatever_the_password_and_costs_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    real = CHEAP._hasher.verify

    def verify(stored: str, password: bytes) -> bool:
        verified.append(stored)
        return real(stored, password)

    monkeypatch.setattr(CHEAP, "_hasher", type("Counting", (), {"verify": staticmethod(verify)})())
    assert CHEAP.verify(None, "the password of nobody") == WRONG
    assert CHEAP.verify(None, "anything else") == WRONG
    assert len(verified) == 2


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "plain text"])
def test_damaged_hash_is_wrong_and_no_error(stored: str) -> None:
    assert CHEAP.verify(stored, "correct horse battery") == WRONG


def test_the_same_letters_typed_in_another_way_are_the_same_password() -> None:
    stored = CHEAP.hash("caf\u00e9 cr\u00e8me br\u00fbl\u00e9e")
    assert CHEAP.verify(stored, "cafe\u0301 cre\u0300me bru\u0302le\u0301e") == RIGHT


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "PASSWORD_TOO_SHORT"),
        ("x" * 11, "PASSWORD_TOO_SHORT"),
        ("x" * 1025, "PASSWORD_TOO_LONG"),
        ("x" * 10**7, "PASSWORD_TOO_LONG"),
    ],
)
def test_password_outside_the_bounds_is_refused(password: str, reason: str) -> None:
    assert reason_of(lambda: CHEAP.hash(password)) == reason


def test_password_beyond_the_bound_does_not_match_its_beginning() -> None:
    stored = CHEAP.hash("x" * 1024)
    assert CHEAP.verify(stored, "x" * 1024) == RIGHT
    assert CHEAP.verify(stored, "x" * 1025) == WRONG
    assert CHEAP.verify(stored, "x" * 10**7) == WRONG


def test_password_that_is_not_text_for_utf_8_is_no_error() -> None:
    assert CHEAP.verify(CHEAP.hash("correct horse battery"), "\ud800" * 20) == WRONG
