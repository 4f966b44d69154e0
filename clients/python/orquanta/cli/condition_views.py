"""How conditions look to a person: on one line of a list, and with their evidence."""

from collections import Counter
from collections.abc import Iterable, Mapping

from orquanta.cli.formats import clock, one_line, words
from orquanta.cli.output import Output
from orquanta.types.health import Authority, Condition, ConditionSeverity
from orquanta.types.nodes import Node

_SAYS = {
    Authority.DRIVER: "the driver says",
    Authority.CATALOGUE: "the vendor's catalogue says",
    Authority.RULE: "a rule says",
}
_TITLE_WIDTH = 110


def health_summary(conditions: Iterable[Condition]) -> str:
    """`healthy`, or how many conditions of each severity: `1 fatal, 2 warning`; acknowledged ones apart."""
    counts = Counter(
        "acknowledged" if condition.acknowledged_by else condition.severity.value
        for condition in conditions
        if condition.severity is not ConditionSeverity.INFO
    )
    known = ("fatal", "warning", "unknown", "acknowledged")
    return ", ".join(f"{counts[name]} {name}" for name in known if counts[name]) or "healthy"


def gpu_names(node: Node) -> Mapping[str, str]:
    """`GPU 3` for each UUID of a node."""
    return {gpu.inventory.uuid: f"GPU {gpu.inventory.index}" for gpu in node.gpus}


def print_conditions(output: Output, conditions: Iterable[Condition], gpus: Mapping[str, str]) -> None:
    """Each condition with what it asks for and what was seen."""
    for condition in conditions:
        _print_condition(output, condition, gpus)


def condition_title(condition: Condition) -> str:
    """`XID 79`, `DISK_FULL`."""
    return f"{condition.kind} {condition.code}" if condition.code else condition.kind


def _print_condition(output: Output, condition: Condition, gpus: Mapping[str, str]) -> None:
    title = f"{condition_title(condition)} on {_thing(condition, gpus)}: {condition.summary}"
    output.say(f"  {words(condition.severity).upper():<7}  {one_line(title, _TITLE_WIDTH)}")
    lasts = ", ends only by a repair, a reboot or an operator" if condition.sticky else ""
    times = f"{condition.count} time" + ("s" if condition.count != 1 else "")
    lines = [
        f"{condition.id}",
        f"seen {times}, first {clock(condition.first_seen_at)}, last {clock(condition.last_seen_at)}{lasts}",
        _asks_for(condition),
    ]
    if condition.process_ids:
        lines.append("processes: " + ", ".join(str(process_id) for process_id in condition.process_ids))
    if condition.earlier_repairs:
        before = condition.earlier_repairs
        lines.append(f"repaired {'once' if before == 1 else f'{before} times'} before within 30 days")
    if condition.acknowledged_by:
        lines.append(f"acknowledged by {condition.acknowledged_by}: proposes no repair")
    for line in lines:
        output.block(line, indent=11)
    for evidence in condition.evidence:
        head = f"[{evidence.id}] {clock(evidence.observed_at)} {words(evidence.source)}: "
        output.block(head + one_line(evidence.text), indent=11)


def _asks_for(condition: Condition) -> str:
    if condition.repair is None:
        return "asks for no repair"
    says = _SAYS.get(condition.authority) if condition.authority else None
    vendor = f" {condition.vendor_action}" if condition.vendor_action else ""
    service = f" {condition.service}" if condition.service else ""
    return f"asks for: {words(condition.repair)}{service}" + (f" ({says}{vendor})" if says else "")


def _thing(condition: Condition, gpus: Mapping[str, str]) -> str:
    """`GPU 3 (GPU-1234, 0000:3b:00.0)`, or what else it is about."""
    if condition.gpu_uuid:
        name = gpus.get(condition.gpu_uuid, "a GPU")
        link = "" if condition.subject in ("", condition.gpu_uuid) else f" {condition.subject}"
        where = ", ".join(part for part in (condition.gpu_uuid, condition.pci_bus_id) if part)
        return f"{name}{link} ({where})"
    return condition.subject or "the host"
