"""Says why a job was placed where it was, in plain words with figures."""

from control_plane.fleet.placement.choice import Choice
from control_plane.fleet.placement.fits import pick
from control_plane.fleet.placement.grid import RACK, ZONE, Grid
from control_plane.fleet.placement.needs import Need
from control_plane.fleet.placement.room import Asked, Found
from control_plane.model.action import Placement
from control_plane.model.job import TopologyDomain

_MAX_NAMES = 8  # of hosts in one sentence


def found_by(grid: Grid, asked: Asked, choice: Choice) -> Found:
    """Return where a job goes by a choice. The grid is as it was before the job is there."""
    need, gpu_type, placements = choice.way.need, choice.way.gpu_type, []
    for rank, row in enumerate(choice.rows):
        host = grid.hosts[row]
        assert host is not None  # a row without a host has no room
        slots = pick(grid, row, need, choice.slot)
        uuids = list(grid.columns[row])
        placements.append(Placement(rank, host.node_id, tuple(uuids[slot] for slot in slots)))
        if slots:
            gpu_type = grid.kinds.all[int(grid.kind[row, slots[0]])].gpu_type
    return Found(gpu_type, tuple(placements), why_there(grid, asked, choice, gpu_type))


def why_there(grid: Grid, asked: Asked, choice: Choice, gpu_type: str) -> str:
    """Return the reason as one sentence. The grid is as it was before the job is there."""
    hosts = [host for row in choice.rows if (host := grid.hosts[row]) is not None]
    names = ", ".join(host.name for host in hosts[:_MAX_NAMES])
    if len(hosts) > _MAX_NAMES:
        names += f" and {len(hosts) - _MAX_NAMES} more"
    what = amount(choice.way.need, gpu_type, asked.resources.mig_profile)
    if len(hosts) > 1:
        return f"{what} on each of {names}{_near(choice, hosts[0].labels.get(RACK, ''), hosts[0].labels.get(ZONE, ''))}"
    row, need = choice.rows[0], choice.way.need
    text = f"{what} on {names}"
    if choice.with_room == 1:
        text += ", the one host with room"
    elif need.count == 0 and not grid.has_gpus[row]:
        text += f", of {choice.with_room} hosts with room one without GPUs"
    else:
        text += f", of {choice.with_room} hosts with room the one where least is lost for other jobs"
    if need.count:
        whole = int(grid.whole_free[row])
        slots = len(grid.columns[row])
        of_it = "GPUs and MIG devices" if asked.resources.mig_profile else "GPUs"
        text += f"; before, {whole} of its {slots} {of_it} were wholly free"
    if need.shared and not hosts[0].enforces_shares:
        text += "; nothing on that host holds it to its part, for no MPS runs there"
    return text


def amount(need: Need, gpu_type: str, mig_profile: str) -> str:
    """Return what one member takes of the GPUs of its host, in words."""
    if need.count == 0:
        return "no GPU"
    if need.shared:
        return f"{need.milli / 10:g} % of one {gpu_type or 'GPU'}"
    if mig_profile:
        return f"{need.count} MIG {mig_profile} of {gpu_type or 'any GPU'}"
    return f"{need.count} {gpu_type or 'GPU'}"


def _near(choice: Choice, rack: str, zone: str) -> str:
    match choice.domain:
        case TopologyDomain.RACK:
            return f", all in rack {rack}"
        case TopologyDomain.ZONE:
            return f", all in zone {zone}; no one rack holds it"
        case _:
            return f"; {choice.with_room} hosts had room"
