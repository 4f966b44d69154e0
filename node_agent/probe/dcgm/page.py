"""From the text of a DCGM exporter's page to figures by GPU.

`prometheus_client` reads the samples, one line at a time: a line that it refuses costs that line and not the page, and
without the `# TYPE` lines it appends no `_total` to names. It takes 13 ms of processor time for a page of 8 GPUs with
60 fields. This module is imported only where an exporter is configured, and takes the parser alone of the library: with
the web server and the registries that the package brings along, a daemon that had run for two minutes had 1.7 MB more.
"""

import math
import re
from typing import Final

from node_agent.probe.bounded.text import printable
from node_agent.probe.dcgm.fields import OF_A_GPU, OF_AN_INSTANCE, field_name, is_blank
from node_agent.probe.dcgm.lean import without_package_code
from node_agent.probe.dcgm.reading import MAXIMUM_GPUS, MAXIMUM_LINKS, DcgmGpu, TooMuch

with without_package_code("prometheus_client"):
    from prometheus_client.parser import text_string_to_metric_families
    from prometheus_client.samples import Sample

MAXIMUM_LINE_BYTES: Final = 4 * 1024
"""Lines of exporters with all labels of a pod have a quarter of it. The parser's time grows with the square."""
MAXIMUM_SERIES: Final = 16_384
"""Series of wanted fields on one page that are read: 64 GPUs with 32 fields, each in 8 pods or MIG instances."""
_MAXIMUM_LABEL: Final = 256
_UUID: Final = re.compile(r"GPU-[A-Za-z0-9-]{1,90}", re.ASCII)
_LINK: Final = re.compile(r"[0-9]{1,2}", re.ASCII)
_NAME: Final = re.compile(rb"\s*([A-Z0-9_]{1,100}(?:_total)?)[\s{]", re.ASCII)
_UUID_LABELS: Final = ("UUID", "uuid", "gpu_uuid")
"""Of GPU series, of GPU series in the exporter's former naming, of NVLink series."""


class _Gpu:
    __slots__ = ("figures", "index", "links", "model_name", "pci_bus_id", "repeated")

    def __init__(self) -> None:
        self.index = self.model_name = self.pci_bus_id = ""
        self.figures: dict[str, float] = {}
        self.repeated: dict[str, float] = {}  # the GPU's figures, told by series of its MIG instances
        self.links: dict[int, dict[str, float]] = {}


class DcgmPage:
    """Collects a page, piece by piece. Series of one figure that differ only in labels (pods) count once."""

    def __init__(self) -> None:
        self.hostname = ""
        self._gpus: dict[str, _Gpu] = {}
        self._rest = b""
        self._series_read = 0
        self._unreadable_lines = 0

    def feed(self, data: bytes) -> None:
        """Take more of the page. Raises TooMuch."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAXIMUM_LINE_BYTES:
            raise TooMuch(f"a line is longer than {MAXIMUM_LINE_BYTES // 1024} KiB")
        for line in lines:
            self._line(line)

    def end(self) -> tuple[dict[str, DcgmGpu], int]:
        """Return the GPUs by UUID, and how many lines of wanted fields could not be read. Raises TooMuch."""
        rest, self._rest = self._rest, b""
        self._line(rest)
        gpus = {
            uuid: DcgmGpu(uuid, gpu.index, gpu.model_name, gpu.pci_bus_id, gpu.repeated | gpu.figures, gpu.links)
            for uuid, gpu in self._gpus.items()
        }
        return gpus, self._unreadable_lines

    def _line(self, line: bytes) -> None:
        match = _NAME.match(line)
        if match is None:
            return
        field = field_name(match[1].decode())
        if field not in OF_A_GPU:
            return
        self._series_read += 1
        if self._series_read > MAXIMUM_SERIES:
            raise TooMuch(f"it has more than {MAXIMUM_SERIES} series")
        sample = read_sample(line)
        if sample is None:
            self._unreadable_lines += 1
        else:
            self._series(field, sample)

    def _series(self, field: str, sample: Sample) -> None:
        labels = sample.labels
        uuid = next((labels[label] for label in _UUID_LABELS if labels.get(label)), "")
        if not _UUID.fullmatch(uuid):
            return  # of a switch or a processor, or not of a GPU that can be told apart
        gpu = self._gpu(uuid)
        self.hostname = self.hostname or _label(labels, "Hostname", "hostname")
        gpu.index = gpu.index or _label(labels, "gpu")
        gpu.model_name = gpu.model_name or _label(labels, "modelName", "model_name")
        gpu.pci_bus_id = gpu.pci_bus_id or _label(labels, "pci_bus_id")
        if math.isfinite(sample.value) and not is_blank(sample.value):
            self._sink(gpu, field, labels)[field] = sample.value

    def _sink(self, gpu: _Gpu, field: str, labels: dict[str, str]) -> dict[str, float]:
        link = labels.get("nvlink", "")
        if link:
            if not _LINK.fullmatch(link) or (int(link) not in gpu.links and len(gpu.links) >= MAXIMUM_LINKS):
                return {}
            return gpu.links.setdefault(int(link), {})
        if not labels.get("GPU_I_ID"):
            return gpu.figures
        return {} if field in OF_AN_INSTANCE else gpu.repeated

    def _gpu(self, uuid: str) -> _Gpu:
        gpu = self._gpus.get(uuid)
        if gpu is None:
            if len(self._gpus) >= MAXIMUM_GPUS:
                raise TooMuch(f"it shows more than {MAXIMUM_GPUS} GPUs")
            gpu = self._gpus[uuid] = _Gpu()
        return gpu


def read_sample(line: bytes) -> Sample | None:
    """Return the sample of one line, None if the line is none. Whole numbers are read without loss."""
    if len(line) > MAXIMUM_LINE_BYTES:
        return None
    try:
        (family,) = text_string_to_metric_families(line.decode("utf-8", "replace"))
        (sample,) = family.samples
        math.isfinite(sample.value)  # false for a whole number beyond what any field holds: OverflowError
    except Exception:  # noqa: BLE001 - lines that are none end in errors of many kinds, and there is no list of them
        return None
    return sample


def _label(labels: dict[str, str], *names: str) -> str:
    return next((printable(labels[name], _MAXIMUM_LABEL) for name in names if labels.get(name)), "")
