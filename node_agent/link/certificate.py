"""What the daemon remembers of its certificate, without a library that can read one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

_RENEW_WHEN_LEFT = 1 / 3


class CertificateRejected(Exception):
    """A certificate from the control plane does not fit this node; the old one stays in use."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a node certificate says."""

    node_id: str
    serial: str
    """Lower-case hexadecimal."""
    not_before: datetime
    not_after: datetime

    def renewal_due_at(self) -> datetime:
        """Return when a third of the certificate's life is left."""
        return self.not_after - (self.not_after - self.not_before) * _RENEW_WHEN_LEFT

    def clock_error(self, now: datetime) -> timedelta:
        """Return how far `now` lies outside the certificate's life: negative before it, zero within."""
        if now < self.not_before:
            return now - self.not_before
        return max(timedelta(), now - self.not_after)

    def to_json(self) -> dict[str, str]:
        """Return a value for `json.dumps`."""
        return {
            "node_id": self.node_id,
            "serial": self.serial,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, str]) -> "CertificateFacts":
        """Read what `to_json` wrote; raises KeyError or ValueError."""
        return cls(
            node_id=value["node_id"],
            serial=value["serial"],
            not_before=datetime.fromisoformat(value["not_before"]),
            not_after=datetime.fromisoformat(value["not_after"]),
        )
