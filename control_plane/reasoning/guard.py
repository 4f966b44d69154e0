"""A switch over the whole process that forbids calls of real models, so that no test can spend money by accident."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from control_plane.reasoning.errors import NoModel


class _Switch:
    def __init__(self) -> None:
        self.forbidden = False
        self.loopback_users = 0


_switch = _Switch()


def forbid_real_calls() -> None:
    """Refuse every call of a model from now on, in this process and for good."""
    _switch.forbidden = True


@contextmanager
def loopback_allowed() -> Iterator[None]:
    """Allow calls of servers on this machine meanwhile, though real calls are forbidden."""
    _switch.loopback_users += 1
    try:
        yield
    finally:
        _switch.loopback_users -= 1


def permitted(url: str) -> bool:
    """Whether a server at this URL may be called."""
    return not _switch.forbidden or (_switch.loopback_users > 0 and is_loopback(url))


def check(url: str) -> None:
    """Raise NoModel if a server at this URL must not be called."""
    if not permitted(url):
        raise NoModel(
            "calls of real models are forbidden in this process; use ScriptedModel, or a server on this machine "
            "within loopback_allowed()"
        )


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine itself, by an address of its own or as localhost."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
