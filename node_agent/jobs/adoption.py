"""Takes up, at a daemon's start, what ran here before it: members that go on, and what is left of others."""

import asyncio

import structlog

from node_agent.jobs.attendant import Attendant
from node_agent.jobs.directory import scan
from node_agent.jobs.elsewhere import Elsewhere
from node_agent.jobs.member import Member
from node_agent.jobs.proc import boot_id
from node_agent.jobs.recovery import destroy, destroy_orphan, orphans
from node_agent.jobs.roster import Roster, Spawn
from node_agent.jobs.spec import MemberSpec

log = structlog.get_logger()


async def adopt(roster: Roster, attendant: Attendant, elsewhere: Elsewhere | None, spawn: Spawn) -> None:
    """Fill the roster from the state directory. What nobody can follow is killed, and never started again."""
    settings = roster.settings
    found = await asyncio.to_thread(scan, settings.jobs_dir)
    for key, pid in (await asyncio.to_thread(orphans, settings.jobs_dir, found.keys())).items():
        log.warning("job.directory_deleted", member=str(key), todo="its job is killed, for nobody can follow it")
        await roster.forget([key])
        await destroy_orphan(pid, settings.jobs_dir, key, settings.cgroup_parent)
        if elsewhere is not None:
            spawn(elsewhere.end(key))
    for key, directory in found.items():
        try:
            document = await asyncio.to_thread(directory.read_document)
            spec = MemberSpec.from_json(document["spec"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("job.unreadable", member=str(key), error=str(error))
            await roster.forget([key])
            await destroy(directory, str(key), settings.cgroup_parent)
            if elsewhere is not None:
                spawn(elsewhere.end(key))
            continue
        member = roster.members[key] = Member(spec, directory)
        member.launched = directory.touched or document["plan"]["boot_id"] != boot_id()
        member.refresh()
        if member.status.ended:
            member.size_bytes = await asyncio.to_thread(directory.size_bytes)
        elif member.launched:
            log.info("job.adopted", member=str(key), state=member.status.state.value)
            attendant.attend(key, member)
            attendant.mark(key)
