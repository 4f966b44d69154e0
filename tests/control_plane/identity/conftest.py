from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from control_plane.errors import OrQuantaError
from control_plane.identity.ca import CertificateAuthority

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class ManualClock:
    """Time that moves when a test says so."""

    time: datetime = field(default=START)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **parts: float) -> None:
        self.time += timedelta(**parts)


def reason_of(action: Callable[[], object]) -> str:
    """The reason of the domain error that `action` raises; its message must say something."""
    with pytest.raises(OrQuantaError) as caught:
        action()
    assert len(caught.value.message) > 20
    return caught.value.reason


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ca(tmp_path: Path, clock: ManualClock) -> CertificateAuthority:
    return CertificateAuthority.load_or_create(tmp_path / "ca", clock=clock)
