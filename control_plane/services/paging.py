"""Page tokens that fit the list and the filters they were given out for, and no others."""

import hashlib
from typing import Final, Protocol

from google.protobuf.message import Message

from control_plane.errors import InvalidArgument
from control_plane.store.pages import PageRequest, page_request

_SEAL_CHARACTERS: Final = 12
_TOKEN_CHARACTERS_MAX: Final = 1_024


class _ListRequest(Protocol):
    """The part that all requests for lists have."""

    page_size: int
    page_token: str


class Paging:
    """Which page a request asks for (`wanted`), and how the next one is named."""

    def __init__(self, request: _ListRequest) -> None:
        """Read a request's page.

        Raises:
            InvalidArgument: PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID.
        """
        self._scope = _scope(request)
        given = request.page_token
        token = given[_SEAL_CHARACTERS:]
        if given and (len(given) > _TOKEN_CHARACTERS_MAX or given != self._sealed(token)):
            raise InvalidArgument(
                "page_token is not one of this list; pass next_page_token of the same call with the same filters, "
                "or none to start with the first page",
                reason="PAGE_TOKEN_INVALID",
                metadata={"field": "page_token"},
            )
        self.wanted: PageRequest = page_request(request.page_size, token)

    def next(self, token: str) -> str:
        """Return the token that the caller gets for the store's own; empty stays empty."""
        return self._sealed(token) if token else ""

    def _sealed(self, token: str) -> str:
        seal = hashlib.sha256(self._scope + token.encode()).hexdigest()[:_SEAL_CHARACTERS]
        return seal + token


def _scope(request: _ListRequest) -> bytes:
    """The kind of list and its filters; the size of a page may change on the way."""
    assert isinstance(request, Message)
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_token")
    filters.ClearField("page_size")
    return request.DESCRIPTOR.full_name.encode() + b"\n" + filters.SerializeToString(deterministic=True) + b"\n"
