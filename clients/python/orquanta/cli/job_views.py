"""How a job looks to a person."""

from orquanta.cli.formats import elapsed, gpus, moment, money, or_dash, size, span, words
from orquanta.cli.output import Output
from orquanta.types.jobs import Allocation, AllocationMember, Job, ResourceRequest, TopologyDomain


def print_job(output: Output, job: Job) -> None:
    """A job with the reason for its state and all its attempts."""
    spec = job.spec
    output.fields(
        [
            ("job", job.id),
            ("name", spec.name),
            ("state", words(job.state)),
            ("why", job.status_reason),
            ("exit code", "" if job.exit_code is None else str(job.exit_code)),
            ("goal", job.goal_id),
            ("by", job.user_email),
            ("team", job.team),
            ("needs", needs_in_words(spec.resources)),
            ("command", spec.command),
            ("image", spec.image),
            ("template", spec.template),
            ("environment", "\n".join(f"{key}={value}" for key, value in sorted(spec.environment.items()))),
            ("priority", words(spec.priority)),
            ("time limit", span(spec.max_runtime_seconds) if spec.max_runtime_seconds else ""),
            ("checkpoint", _checkpoint(job)),
            ("executor", spec.executor),
            ("waits for", ", ".join(spec.depends_on)),
            ("submitted", moment(job.created_at)),
            ("started", moment(job.started_at)),
            ("ended", moment(job.finished_at)),
            ("ran for", elapsed(job.started_at, job.finished_at)),
            ("cost", money(job.cost_usd)),
            ("reserved", money(job.reserved_usd) if job.reserved_usd else ""),
        ]
    )
    for allocation in job.allocations:
        output.say()
        _print_attempt(output, allocation)


def asked_gpus(needs: ResourceRequest) -> str:
    """`2 x H100`, `0.25 x H100`, `3 x 1g.10gb of A100`, `CPU`."""
    if needs.gpu_milli:
        return f"{needs.gpu_milli / 1000:g} x {'|'.join(needs.gpu_types) or 'GPU'}"
    if needs.mig_profile:
        of = f" of {'|'.join(needs.gpu_types)}" if needs.gpu_types else ""
        return f"{needs.gpu_count} x {needs.mig_profile}{of}"
    return gpus(needs.gpu_count, needs.gpu_types)


def needs_in_words(needs: ResourceRequest) -> str:
    """All that a job needs, on one line."""
    return ", ".join((asked_gpus(needs), *_sizes(needs), *_where(needs)))


def _sizes(needs: ResourceRequest) -> list[str]:
    parts = []
    if needs.share_memory_bytes:
        parts.append(f"with {size(needs.share_memory_bytes)} of its memory")
    if needs.node_count:
        parts.append(f"on {needs.node_count} node" + ("s" if needs.node_count > 1 else ""))
    if needs.min_gpu_memory_bytes:
        parts.append(f"with {size(needs.min_gpu_memory_bytes)} each")
    if needs.exclude_gpu_types:
        parts.append(f"not {', '.join(needs.exclude_gpu_types)}")
    if needs.cpu_milli:
        parts.append(f"{needs.cpu_milli / 1000:g} CPUs")
    if needs.memory_bytes:
        parts.append(f"{size(needs.memory_bytes)} memory")
    return parts


def _where(needs: ResourceRequest) -> list[str]:
    parts = []
    if needs.topology is not TopologyDomain.ANY:
        parts.append(f"in one {_NEAR.get(needs.topology, words(needs.topology))}")
    if needs.node_labels:
        parts.append("where " + " and ".join(f"{key}={value}" for key, value in sorted(needs.node_labels.items())))
    if needs.exclude_nodes:
        parts.append(f"not on {', '.join(needs.exclude_nodes)}")
    if needs.anti_affinity:
        parts.append(f"apart from others of {needs.anti_affinity}")
    if needs.exclusive_nodes:
        parts.append("alone on its nodes")
    return parts


_NEAR = {TopologyDomain.NVLINK: "NVLink island"}


def _checkpoint(job: Job) -> str:
    spec = job.spec
    return f"{spec.checkpoint_signal}, within {span(spec.checkpoint_seconds)}" if spec.checkpoint_signal else ""


def _print_attempt(output: Output, allocation: Allocation) -> None:
    output.say(
        f"Attempt {allocation.epoch} ({allocation.id}), {words(allocation.state)}, {money(allocation.cost_usd)} "
        f"at {money(allocation.price_usd_per_gpu_hour)} per GPU hour"
    )
    if allocation.placement_reason:
        output.say(f"Placed: {allocation.placement_reason}")
    output.table(
        ("rank", "node", "state", "gpus", "ended", "peak memory", "gpu time", "message"),
        [
            (
                str(member.rank),
                member.node_name or member.node_id,
                words(member.state),
                str(len(member.gpu_uuids)),
                or_dash(_ending(member)),
                size(member.peak_memory_bytes) if member.peak_memory_bytes else "-",
                span(member.gpu_seconds) if member.gpu_seconds or member.ended_at is not None else "-",
                member.message,
            )
            for member in allocation.members
        ],
        empty="",
    )


def _ending(member: AllocationMember) -> str:
    if member.exit_reason is None:
        return ""
    ending = words(member.exit_reason)
    if member.exit_code is not None:
        ending += f" {member.exit_code}"
    if member.signal is not None:
        ending += f" by signal {member.signal}"
    return ending
