"""Keeps the newest local policy, and says whether it still holds."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final, NoReturn, Protocol

import structlog
from google.protobuf.message import DecodeError

from node_agent.clock import Clock
from node_agent.convert_repair import OrderInvalid, to_policy
from node_agent.policy.stored import Stored, read, write
from node_agent.repair.model import LocalPolicy
from orquanta.v1 import repair_pb2

log = structlog.get_logger()

_CHILD = ("-I", "-m", "node_agent.policy.verify")
_CHILD_SECONDS = 30.0
_NOTE_TIME_SECONDS = 600.0  # a clock set back over a reboot brings back no more than this
_CLOCK_JUMP = timedelta(minutes=1)
_MAXIMUM_BYTES: Final = 64 * 1024


class BootClock(Protocol):
    """A clock that goes on while the host sleeps."""

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME in seconds."""
        ...


class PolicyStanding(Enum):
    """How it is with the policy."""

    MISSING = "missing"
    VALID = "valid"
    EXPIRED = "expired"


class PolicyKeeper:
    """The host's local policy, on disk through restarts.

    A policy is taken only if the authority that the host trusts has signed it for this very node, and if no newer one
    was ever held here. It runs out by the wall clock and, for a clock that is wrong or set back, by the time that has
    really passed; once it has run out, it stays so.
    """

    def __init__(
        self,
        file: Path,
        *,
        node_id: str,
        ca_file: Callable[[], Path],
        clock: Clock,
        boot_clock: BootClock,
        boot_id: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`ca_file` tells where the authority that the host trusts is now."""
        self._file = file
        self._node_id = node_id
        self._ca_file = ca_file
        self._clock = clock
        self._boot_clock = boot_clock
        self._boot_id = boot_id
        self._sleep = sleep
        self._stored = Stored()
        self._policy: LocalPolicy | None = None
        self._anchor = (clock.now(), boot_clock.boottime())

    @property
    def version(self) -> int:
        """The version of the policy that is held, expired or not; 0 if there is none."""
        return 0 if self._policy is None else self._policy.version

    @property
    def held(self) -> LocalPolicy | None:
        """The policy that is held, expired or not."""
        return self._policy

    def current(self) -> LocalPolicy | None:
        """Return the policy if it holds now; None if there is none or it has run out."""
        return self._policy if self.standing() is PolicyStanding.VALID else None

    def standing(self) -> PolicyStanding:
        """Return how it is with the policy, now."""
        if self._policy is None:
            return PolicyStanding.MISSING
        if not self._stored.expired and self._has_run_out(self._policy):
            log.warning("policy.expired", version=self._policy.version, expired_at=self._policy.expires_at.isoformat())
            self._store(replace(self._stored, expired=True, latest_time=self._time()))
        return PolicyStanding.EXPIRED if self._stored.expired else PolicyStanding.VALID

    async def load(self) -> None:
        """Read what the last daemon held, and check it again. A file that cannot be used is as if there were none."""
        try:
            self._stored = read(self._file)
            if self._stored.latest_time is not None and self._stored.latest_time > self._anchor[0]:
                self._anchor = (self._stored.latest_time, self._boot_clock.boottime())
            if self._stored.signed:
                self._policy = await self._check(self._stored.policy())
        except (OSError, ValueError, DecodeError) as error:
            log.error("policy.not_usable", file=str(self._file), reason=str(error), doing="going on without one")  # noqa: TRY400 - the reason is whole

    async def offer(self, signed: repair_pb2.SignedPolicy) -> bool:
        """Take a policy that the control plane sent, if it is good and not older than one held before."""
        data = signed.SerializeToString(deterministic=True)
        # A control plane that was restarted signs the same policy anew, and no two signatures are alike.
        held = self._policy
        if held is not None and signed.policy != self._stored.policy().policy:
            held = None
        if held is not None and not self._stored.expired and self._time() - self._clock.now() <= _CLOCK_JUMP:
            return True
        try:
            policy = held if held is not None and data == self._stored.signed else await self._check(signed)
        except (OSError, ValueError, DecodeError) as error:
            log.error("policy.refused", reason=str(error))  # noqa: TRY400 - the reason is whole
            return False
        if held is not None:
            self._accept(held, data)  # said again, live: the clock had jumped ahead and was set right
            return True
        if policy.version < self._stored.highest_version or (
            self._policy is not None
            and policy.version == self._policy.version
            and policy.issued_at <= self._policy.issued_at
        ):
            log.warning("policy.refused", reason="a newer one was held", version=policy.version, held=self.version)
            return False
        self._policy = policy
        self._accept(policy, data)
        log.info("policy.accepted", version=policy.version, expires_at=policy.expires_at.isoformat())
        return True

    async def run(self) -> NoReturn:
        """Note from time to time how late it is, so that a clock set back over a reboot revives nothing."""
        while True:
            await self._sleep(_NOTE_TIME_SECONDS)
            if self.standing() is PolicyStanding.VALID:
                self._store(replace(self._stored, latest_time=self._time()))

    def _accept(self, policy: LocalPolicy, data: bytes) -> None:
        now, boottime = self._clock.now(), self._boot_clock.boottime()
        self._anchor = (now, boottime)
        lifetime = (policy.expires_at - policy.issued_at).total_seconds()
        self._store(
            Stored(
                signed=data,
                highest_version=max(policy.version, self._stored.highest_version),
                latest_time=now,
                boot_id=self._boot_id,
                deadline_boottime_seconds=boottime + lifetime,
            )
        )

    def _has_run_out(self, policy: LocalPolicy) -> bool:
        in_same_boot = self._stored.boot_id == self._boot_id
        return self._time() >= policy.expires_at or (
            in_same_boot and self._boot_clock.boottime() >= self._stored.deadline_boottime_seconds
        )

    def _time(self) -> datetime:
        """Return the time of day, which never goes back here: not below what has passed since it was last known."""
        anchor, anchored_at = self._anchor
        boottime = self._boot_clock.boottime()
        now = max(self._clock.now(), anchor + timedelta(seconds=boottime - anchored_at))
        self._anchor = (now, boottime)
        return now

    def _store(self, stored: Stored) -> None:
        self._stored = stored
        try:
            write(self._file, stored)
        except OSError as error:
            log.error("policy.not_stored", file=str(self._file), error=str(error))  # noqa: TRY400 - the reason is whole

    async def _check(self, signed: repair_pb2.SignedPolicy) -> LocalPolicy:
        """Return the policy if it is signed and for this node; raises OSError, ValueError or DecodeError."""
        if signed.ByteSize() > _MAXIMUM_BYTES:
            raise OrderInvalid("the policy is too large")
        await self._verify(signed)
        policy = to_policy(repair_pb2.LocalPolicy.FromString(signed.policy))
        if policy.node_id != self._node_id:
            raise OrderInvalid(f"the policy is for another node, {policy.node_id[:80]!r}")
        if policy.version == 0 or policy.expires_at <= policy.issued_at:
            raise OrderInvalid("the policy has no version, or runs out before it begins")
        return policy

    async def _verify(self, signed: repair_pb2.SignedPolicy) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *_CHILD,
            str(self._ca_file()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
        )
        try:
            async with asyncio.timeout(_CHILD_SECONDS):
                _, error = await child.communicate(signed.SerializeToString())
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode != 0:
            raise OrderInvalid(error.decode(errors="replace").strip()[:500] or "the child gave no reason")
