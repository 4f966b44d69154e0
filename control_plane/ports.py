"""Addresses of the servers: checked and held before anything is started, and shown the way others reach them."""

import errno
import socket

from control_plane.errors import PreconditionFailed
from control_plane.held_port import HeldPort
from control_plane.setting_addresses import join_address, split_address

_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - recognised here, not bound


def hold_port(setting: str, address: str) -> HeldPort:
    """Hold the port of `address`, or any free one if it is 0.

    Raises PreconditionFailed, naming the setting, when somebody listens there already or it is not this machine's.
    """
    try:
        return HeldPort(*split_address(address))
    except OSError as error:
        flag = f"--{setting.replace('_', '-')}"
        if error.errno == errno.EADDRINUSE:
            raise PreconditionFailed(
                f"{address} is taken by another program; stop that, or choose another address with {flag}",
                reason="PORT_TAKEN",
            ) from error
        raise PreconditionFailed(
            f"cannot listen on {address} ({error.strerror or error}); choose one of this machine with {flag}",
            reason="ADDRESS_UNUSABLE",
        ) from error


def reachable(address: str, port: int, advertise_names: tuple[str, ...]) -> str:
    """Return `host:port` as others reach it: the first advertised name, else what the server listens on."""
    host, _ = split_address(address)
    if advertise_names:
        host = advertise_names[0]
    elif host in _ANY:
        host = socket.gethostname()
    return join_address(host, port)


def certificate_names(addresses: tuple[str, ...], advertise_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every name and address that the server certificate must cover."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *advertise_names]
    names += [host for host, _ in map(split_address, addresses) if host not in _ANY]
    return tuple(dict.fromkeys(names))
