"""The page that the endpoint serves."""

from collections import Counter

from node_agent.exporter.gpus import gpu_lines
from node_agent.exporter.state import ExporterState
from node_agent.exporter.text import Kind, family, label_text


def render(state: ExporterState) -> bytes:
    """Return the whole page."""
    return ("\n".join([*gpu_lines(state), *_daemon_lines(state)]) + "\n").encode()


def _daemon_lines(state: ExporterState) -> list[str]:
    gauge, counter = Kind.GAUGE, Kind.COUNTER
    conditions = Counter((condition.kind, condition.severity.name.lower()) for condition in state.conditions)
    version = label_text({"version": state.version, "Hostname": state.hostname})
    lines = family("orquanta_node_info", gauge, "Always 1; the daemon's version is a label.", [(version, 1)])
    lines += family(
        "orquanta_node_conditions",
        gauge,
        "What is wrong with the host and its GPUs now.",
        [
            (label_text({"kind": kind, "severity": severity}), count)
            for (kind, severity), count in sorted(conditions.items())
        ],
    )
    lines += family(
        "orquanta_node_repairs",
        gauge,
        "Repairs since the daemon started, by rung and where they are.",
        [
            (label_text({"rung": rung.name.lower(), "outcome": outcome.value}), count)
            for (rung, outcome), count in sorted(state.repairs.items(), key=lambda item: (item[0][0], item[0][1].value))
        ],
    )
    lines += family(
        "orquanta_node_probe_stalls_total",
        counter,
        "Times that a probe did not answer within its deadline.",
        [(label_text({"probe": probe}), count) for probe, count in sorted(state.probe_stalls.items())],
    )
    if state.batch_age_seconds is not None:
        lines += family(
            "orquanta_node_sample_age_seconds", gauge, "Age of the GPU figures.", [("", state.batch_age_seconds)]
        )
    for name, kind, explanation, value in (
        ("link_up", gauge, "1 while the link to the control plane is up.", state.link_up),
        ("spool_events", gauge, "Events on disk that the control plane has not acknowledged.", state.spool_events),
        ("spool_bytes", gauge, "Size of the spool on disk.", state.spool_bytes),
        ("spool_dropped_total", counter, "Events dropped because the spool was full.", state.spool_dropped),
        ("telemetry_dropped_total", counter, "Telemetry batches dropped.", state.telemetry_dropped),
        ("kernel_lines_read_total", counter, "Lines of the kernel log read.", state.kernel_lines_read),
        ("kernel_lines_lost_total", counter, "Lines of the kernel log lost before reading.", state.kernel_lines_lost),
    ):
        lines += family(f"orquanta_node_{name}", kind, explanation, [("", value)])
    return lines
