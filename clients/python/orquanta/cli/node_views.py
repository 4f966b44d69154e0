"""How nodes look to a person."""

from collections.abc import Sequence

from orquanta.cli.condition_views import gpu_names, health_summary, print_conditions
from orquanta.cli.formats import moment, or_dash, relative, size, words
from orquanta.cli.output import Output
from orquanta.cli.repair_views import print_repair
from orquanta.types.nodes import GpuHealth, GpuHolder, Node

_WHOLE_MILLI = 1_000

NODE_COLUMNS = ("node", "name", "state", "health", "gpus", "free", "heard", "why")


def node_row(node: Node) -> tuple[str, ...]:
    """One row under `NODE_COLUMNS`."""
    return (
        node.id,
        node.name,
        words(node.state),
        health_summary(node.conditions),
        gpu_summary(node),
        f"{sum(_WHOLE_MILLI - gpu.used_milli for gpu in node.gpus) / _WHOLE_MILLI:g}",
        relative(node.last_seen_at),
        or_dash(node.status_reason),
    )


def gpu_summary(node: Node) -> str:
    """`8 x H100 (virtual)`."""
    counts: dict[str, int] = {}
    for gpu in node.gpus:
        counts[gpu.inventory.gpu_type] = counts.get(gpu.inventory.gpu_type, 0) + 1
    text = ", ".join(f"{count} x {model}" for model, count in counts.items()) or "none"
    return f"{text} (virtual)" if node.inventory.virtual_gpus else text


def print_state(output: Output, node: Node) -> None:
    """What a change made of a node."""
    if output.as_json:
        output.document(node)
    because = f": {node.status_reason}" if node.status_reason else ""
    output.say(f"{node.name} ({node.id}) {words(node.state)}{because}.")


def print_node(output: Output, node: Node) -> None:
    """A node, its hardware, what runs there, what is wrong with it and what was done about it."""
    _print_host(output, node)
    output.say()
    output.table(
        ("gpu", "model", "memory", "health", "used", "jobs", "uuid", "pci"),
        [
            (
                str(gpu.inventory.index),
                gpu.inventory.gpu_type,
                size(gpu.inventory.memory_bytes),
                "-" if gpu.health is GpuHealth.UNKNOWN else words(gpu.health),
                f"{gpu.used_milli / _WHOLE_MILLI:g}",
                or_dash(_holders(gpu.holders)),
                gpu.inventory.uuid,
                gpu.inventory.pci_bus_id,
            )
            for gpu in node.gpus
        ],
        empty="No GPUs.",
    )
    _print_mig_devices(output, node)
    gpus = gpu_names(node)
    if node.conditions:
        output.say("\nCONDITIONS")
        print_conditions(output, node.conditions, gpus)
    if node.repair is not None:
        output.say("\nREPAIR IN PROGRESS" if not node.repair.state.ended else "\nLAST REPAIR")
        print_repair(output, node.repair, gpus)
    if node.incident_id:
        output.note(f"Its incident: orquanta incident show {node.incident_id}")


def _holders(holders: Sequence[GpuHolder]) -> str:
    """Who holds a GPU: `j-...`, or each with its share of it where it is shared: `j-... 0.25, j-... 0.5`."""
    return ", ".join(
        one.job_id if one.milli == _WHOLE_MILLI else f"{one.job_id} {one.milli / _WHOLE_MILLI:g}" for one in holders
    )


def _print_mig_devices(output: Output, node: Node) -> None:
    """The parts of GPUs in MIG mode, if there are any, and the jobs on them."""
    jobs = {one.mig_device_uuid: one.job_id for gpu in node.gpus for one in gpu.holders}
    rows = [
        (str(gpu.inventory.index), one.profile, size(one.memory_bytes), or_dash(jobs.get(one.uuid, "")), one.uuid)
        for gpu in node.gpus
        for one in gpu.inventory.mig_devices
    ]
    if rows:
        output.say("\nMIG DEVICES")
        output.table(("gpu", "profile", "memory", "job", "uuid"), rows, empty="")


def _print_host(output: Output, node: Node) -> None:
    host = node.inventory
    output.fields(
        [
            ("node", node.id),
            ("name", node.name),
            ("state", words(node.state)),
            ("why", node.status_reason),
            ("health", health_summary(node.conditions)),
            ("incident", node.incident_id),
            ("link", "up" if node.connected else "down"),
            ("heard", moment(node.last_seen_at)),
            ("joined", moment(node.created_at)),
            ("certificate until", moment(node.certificate_expires_at)),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))),
            ("host", f"{host.hostname}, {host.operating_system}, kernel {host.kernel}"),
            ("address", host.address),
            ("cpu", f"{host.cpu_count} x {host.cpu_model}"),
            ("memory", size(host.memory_bytes)),
            ("driver", f"{host.driver_version}, CUDA {host.cuda_version}" if host.driver_version else ""),
            ("containers", host.container_engine),
            ("limits", ", ".join(host.enforceable_limits)),
            ("jobs run by", host.executor),
            ("daemon", host.agent_version),
        ]
    )
