"""Join tokens are taken apart without ever showing their secret."""

import base64

import pytest

from node_agent.errors import TokenMalformed
from node_agent.link.token import JoinToken
from tests.node_agent.pki import Authority

DER = Authority().der
SECRET = "s" * 52


def _token(der: bytes = DER) -> str:
    return f"oqj_t-0123456789ab_{SECRET}_" + base64.urlsafe_b64encode(der).decode().rstrip("=")


def test_a_token_gives_its_credential_and_its_certificate() -> None:
    token = JoinToken.parse(f"  {_token()}\n")
    assert token.credential == f"oqj_t-0123456789ab_{SECRET}"
    assert token.token_id == "t-0123456789ab"
    assert token.ca_certificate_pem.startswith(b"-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "oqk_k-0123456789ab_" + SECRET,
        f"oqj_t-0123456789ab_{SECRET}",
        f"oqj_t-0123456789ab__{SECRET}",
        _token()[:-20],
        _token() + "!",
        _token(b"not a certificate"),
        "oqj_" + "x" * 1_000_000,
    ],
)
def test_what_is_no_token_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(TokenMalformed, match="Copy the whole line"):
        JoinToken.parse(text)


def test_neither_the_token_nor_its_error_shows_the_secret() -> None:
    assert SECRET not in repr(JoinToken.parse(_token()))
    with pytest.raises(TokenMalformed) as caught:
        JoinToken.parse(_token()[:-20])
    assert SECRET not in str(caught.value)
