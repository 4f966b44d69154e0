"""The same samples go to both sides, and a machine without Prometheus is told what to install."""

import sys

import pytest

from bench import beside_prometheus
from bench.beside_hosts import GPUS_PER_HOST, Exporters, Hosts
from orquanta.v1 import event_pb2

FIELDS = len(event_pb2.GpuSample.DESCRIPTOR.fields) - 2  # but for the name and the error
HOST_FIELDS = len(event_pb2.HostSample.DESCRIPTOR.fields)


def test_a_page_holds_every_number_of_the_batch_that_is_published() -> None:
    hosts = Hosts(2)
    exporters = Exporters(hosts)

    head, _, text = exporters.answer(b"GET /1 HTTP/1.1\r\nHost: there").partition(b"\r\n\r\n")

    told = {line.partition(b" ")[0]: line.rpartition(b" ")[2] for line in text.splitlines() if line[:1] != b"#"}
    assert len(told) == hosts.samples_per_host == FIELDS * GPUS_PER_HOST + HOST_FIELDS
    assert b"Content-Length: %d" % len(text) in head
    batches = [
        event_pb2.TelemetryBatch.FromString(turn[1].partition(b"\r\n")[2].removesuffix(b"\r\n"))
        for turn in hosts.messages
    ]
    gpus = [batch.gpus[3] for batch in batches]
    name = f'orquanta_gpu_memory_used_bytes{{gpu="3",uuid="{gpus[0].uuid}"}}'
    assert int(told[name.encode()]) in {gpu.memory_used_bytes for gpu in gpus}


def test_a_machine_without_prometheus_is_told_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["beside_prometheus", "--prometheus", "/nowhere/prometheus"])

    assert beside_prometheus.main() == beside_prometheus.NOT_INSTALLED
    assert "apt-get install --no-install-recommends prometheus" in capsys.readouterr().err
