"""Puts the folder's policies into force when they change, and keeps the ones before when the newest are wrong.

No files take no rule away: a replica may have been given none, or its folder may not be mounted yet.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from control_plane.errors import InvalidArgument
from control_plane.governor.policy.book import PolicyBook, fault_line
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.closed import closed
from control_plane.governor.policy.folder import Stamp, Unreadable, read_folder, stamp
from control_plane.governor.policy.model import Fault, PolicyFile, PolicySet
from control_plane.store import audit, policy_sets
from control_plane.store.database import Store, Tx
from control_plane.store.policy_sets import KeptSet

log = structlog.get_logger()

NAME = "policy_keeper"


class PolicyLoader:
    """Follows one folder; without one, the built-in rules stand alone."""

    def __init__(self, store: Store, book: PolicyBook, folder: Path | None) -> None:
        self._store = store
        self._book = book
        self._folder = folder
        self._loaded: Stamp | None = None
        self._seen: Stamp | None = None
        book.folder = "" if folder is None else str(folder)

    async def start(self) -> None:
        """Put the folder's policies into force before anything is decided.

        If there are none, or they are wrong, those that were in force last stay so. Raises InvalidArgument if they are
        wrong and there is nothing to go on with.
        """
        files, faults = await self._read()
        last = await self._store.read(policy_sets.in_force)
        if not faults and not files and last is not None and last.files:
            await self._go_on_with(last)
            return
        policies, wrong = self._checked(files) if not faults else (None, ())
        if policies is not None:
            await self._put(policies)
            return
        faults = faults or wrong
        kept = None
        if last is not None:
            kept, _ = self._checked([PolicyFile(*file) for file in last.files])
        if kept is None:
            raise InvalidArgument(
                f"the policies in {self._folder} are wrong; correct them and start again: "
                + "; ".join(fault_line(fault) for fault in faults[:3]),
                reason="POLICIES_INVALID",
            )
        self._book.put(kept)
        await self._refuse(faults)

    async def _go_on_with(self, last: KeptSet) -> None:
        """Leave in force what is, for there are no files here."""
        kept, faults = self._checked([PolicyFile(*file) for file in last.files])
        if kept is None:  # a later version has written it
            kept = replace(await asyncio.to_thread(closed), version=last.version)
        self._book.put(kept)
        await self._refuse([*faults, self._no_files()])

    def _no_files(self) -> Fault:
        if self._folder is None:
            where = "this control plane has no folder of policies"
        else:
            where = f"there is no policy file in {self._folder}"
        return Fault("", 0, "", f"{where}, so those in force stay; to lift them all, put a file with rules: [] there")

    def _checked(self, files: Sequence[PolicyFile]) -> tuple[PolicySet | None, Sequence[Fault]]:
        return check(files, loaded_at=self._store.clock.now())

    async def look(self) -> str:
        """Look whether the files have changed, and take them if they are right. Return what was done, if anything.

        A change is taken once it has stayed the same for two looks: an editor may still be writing.
        """
        if self._folder is None:
            return ""
        try:
            now = await asyncio.to_thread(stamp, self._folder)
        except Unreadable as error:
            self._seen = self._loaded = None
            return await self._refuse((error.fault,))
        settled, self._seen = now == self._seen, now
        if not settled or now == self._loaded:
            return ""
        try:
            return await self._take(*await self._read())
        except BaseException:
            self._loaded = None  # else a change that could not be written down would count as taken
            raise

    async def _take(self, files: Sequence[PolicyFile], faults: Sequence[Fault]) -> str:
        if not faults and not files and self._book.current.files:
            faults = (self._no_files(),)
        if faults:
            return await self._refuse(faults)
        policies, wrong = await asyncio.to_thread(self._checked, files)
        if policies is None:
            return await self._refuse(wrong)
        return await self._put(policies)

    async def _read(self) -> tuple[tuple[PolicyFile, ...], Sequence[Fault]]:
        if self._folder is None:
            return (), ()
        try:
            before = await asyncio.to_thread(stamp, self._folder)
            files = await asyncio.to_thread(read_folder, self._folder)
        except Unreadable as error:
            self._loaded = None
            return (), (error.fault,)
        self._loaded = self._seen = before
        return files, ()

    async def _put(self, policies: PolicySet) -> str:
        before = self._book.current.version
        recovered = bool(self._book.error)

        def keep(tx: Tx) -> bool:
            last = policy_sets.in_force(tx)
            policy_sets.keep(tx, policies.version, [(file.name, file.text) for file in policies.files])
            policy_sets.put_in_force(tx, policies.version)
            if last is not None and last.version == policies.version and not recovered:
                return False
            if last is None and not policies.files:
                return False
            audit.append(
                tx,
                agent_name=NAME,
                action="policies.loaded",
                reasoning="the policy files have changed",
                outcome="in force",
                payload={
                    "policy_version": policies.version,
                    "before": "" if last is None else last.version,
                    "files": [file.name for file in policies.files],
                    "rules": [rule.id for rule in policies.rules],
                },
            )
            return True

        told = await self._store.write(keep)
        self._book.put(policies)
        if not told:
            return ""
        log.info("policies.loaded", version=policies.version, before=before, rules=len(policies.rules))
        return f"{len(policies.rules)} rules of {len(policies.files)} files are in force"

    async def _refuse(self, faults: Sequence[Fault]) -> str:
        """Keep what is in force; say why, once for each reason."""
        before = self._book.error
        self._book.refuse(faults)
        error = self._book.error
        if error == before:
            return ""
        log.error("policies.refused", faults=error, in_force=self._book.current.version)
        await self._store.write(
            lambda tx: audit.append(
                tx,
                agent_name=NAME,
                action="policies.refused",
                reasoning=error,
                outcome="kept the policies before",
                payload={"policy_version": self._book.current.version},
            )
        )
        return "the newest policy files are wrong or gone; those before stay in force"
