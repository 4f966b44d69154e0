"""What can go wrong on a host, each with the exit code of `orquanta-node`.

The codes are those of BSD's sysexits, so that scripts and systemd units can tell "try again" (69, 75) from
"a person must act" (65, 73, 76, 77, 78).
"""

from typing import ClassVar


class AgentError(Exception):
    """A failure that a person is meant to read: the message says what is wrong and what to do next."""

    exit_code: ClassVar[int] = 70


class TokenMalformed(AgentError):
    """The join token is not one, or was cut while copying."""

    exit_code = 65


class ServerUnreachable(AgentError):
    """Nothing answers at the address; nothing was changed."""

    exit_code = 69


class StateUnusable(AgentError):
    """The state directory cannot be written or read: full disk, wrong owner, damaged file."""

    exit_code = 73


class AlreadyJoined(AgentError):
    """The host is a node already."""

    exit_code = 73


class AlreadyRunning(AgentError):
    """Another daemon holds the state directory."""

    exit_code = 75


class NotRunning(AgentError):
    """The daemon of this host does not answer."""

    exit_code = 69


class LocalRefused(AgentError):
    """The daemon of this host did not do what it was asked; nothing was changed."""

    exit_code = 65


class ServerNotTrusted(AgentError):
    """Whoever answers at the address does not hold a certificate of the right authority for that name."""

    exit_code = 76


class JoinRefused(AgentError):
    """The control plane did not accept the token or the request."""

    exit_code = 77


class LinkRefused(AgentError):
    """The control plane does not want this node back with these credentials."""

    exit_code = 77


class SettingsInvalid(AgentError):
    """A flag, environment variable or configuration key has a wrong value."""

    exit_code = 78


class NotJoined(AgentError):
    """The host has no identity yet."""

    exit_code = 78


def only_agent_error(failures: BaseExceptionGroup[BaseException]) -> AgentError | None:
    """Return the AgentError that a group of failures comes down to, or None if there is anything else in it."""
    if len(failures.exceptions) != 1:
        return None
    failure = failures.exceptions[0]
    if isinstance(failure, BaseExceptionGroup):
        return only_agent_error(failure)
    return failure if isinstance(failure, AgentError) else None
