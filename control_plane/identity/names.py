"""Host names and addresses for server certificates."""

import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509

from control_plane.errors import InvalidArgument

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_MAX_NAMES = 64
_MAX_HOST_NAME = 253


def general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Return certificate names for host names (`*.` allowed in front) and IPv4 and IPv6 addresses.

    Raises:
        InvalidArgument: SERVER_NAME_INVALID; none, too many, or one that is neither name nor address.
    """
    if not 1 <= len(names) <= _MAX_NAMES:
        raise InvalidArgument(
            f"a server certificate needs 1 to {_MAX_NAMES} names, not {len(names)}",
            reason="SERVER_NAME_INVALID",
        )
    return [_general_name(name) for name in dict.fromkeys(names)]


def _general_name(name: str) -> x509.GeneralName:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if len(name) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(name):
            return x509.DNSName(name)
    else:
        if not (isinstance(address, ipaddress.IPv6Address) and address.scope_id):
            return x509.IPAddress(address)
    raise InvalidArgument(
        f"{name[:_MAX_HOST_NAME]!a} is neither a host name nor an IP address: give names as DNS has them "
        "(xn--… for other scripts) and addresses without a zone",
        reason="SERVER_NAME_INVALID",
    )
