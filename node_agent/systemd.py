"""Telling systemd how the daemon is (sd_notify), without its library."""

import contextlib
import socket


def notify(address: str, state: str) -> None:
    """Send `state`, for example `READY=1`, to the socket that systemd named; do nothing if it named none."""
    if not address:
        return
    if address.startswith("@"):  # a name in Linux's abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(address)
        connection.sendall(state.encode())
