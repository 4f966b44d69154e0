"""From the text of a DCGM exporter's page to figures by GPU.

`prometheus_client` reads the samples, one line at a time: a line that it refuses costs that line and not the page, and
without the `# TYPE` lines it appends no `_total` to names. It would take 13 ms of processor time for a page of 8 GPUs
with 60 fields. But the labels of a GPU are the same in all of its series and on every page: what the library read of a
set of labels is kept, and a plain line whose labels are known costs a look-up, in all 0.8 ms for that page.

This module is imported only where an exporter is configured, and takes the parser alone of the library: with the web
server and the registries that the package brings along, a daemon that had run for two minutes had 1.7 MB more.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from node_agent.probe.bounded.text import printable
from node_agent.probe.dcgm.fields import FIELDS_BY_NAME, OF_AN_INSTANCE, is_blank
from node_agent.probe.dcgm.lean import without_package_code
from node_agent.probe.dcgm.reading import MAXIMUM_GPUS, MAXIMUM_LINKS, DcgmGpu, TooMuch

with without_package_code("prometheus_client"):
    from prometheus_client.parser import text_string_to_metric_families
    from prometheus_client.samples import Sample

MAXIMUM_LINE_BYTES: Final = 4 * 1024
"""Lines of exporters with all labels of a pod have a quarter of it. The parser's time grows with the square."""
MAXIMUM_SERIES: Final = 16_384
"""Series of wanted fields on one page that are read: 64 GPUs with 32 fields, each in 8 pods or MIG instances."""
MAXIMUM_LABELS: Final = 512
"""Sets of labels that are kept, about 0.3 MB: 8 GPUs with 18 links each and some pods have half of it."""
_MAXIMUM_LABEL: Final = 256
_UUID: Final = re.compile(r"GPU-[A-Za-z0-9-]{1,90}", re.ASCII)
_LINK: Final = re.compile(r"[0-9]{1,2}", re.ASCII)
_NAME: Final = re.compile(rb"\s*([A-Z0-9_]{1,100}(?:_total)?)(?=[\s{])", re.ASCII)
_PLAIN: Final = re.compile(rb"\{([^{}]*)\} (-?[0-9]{1,18}(\.[0-9]{1,18})?(?:e[+-]?[0-9]{1,3})?)", re.ASCII)
"""Labels without braces in them, and a value without a timestamp: what exporters print."""
_UUID_LABELS: Final = ("UUID", "uuid", "gpu_uuid")
"""Of GPU series, of GPU series in the exporter's former naming, of NVLink series."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a set of labels is about."""

    uuid: str
    """Empty if it is no GPU that can be told apart."""
    hostname: str = ""
    index: str = ""
    model_name: str = ""
    pci_bus_id: str = ""
    link: str = ""
    of_an_instance: bool = False


KnownLabels = dict[bytes, _Place]
"""What was read of sets of labels, by their text; at most `MAXIMUM_LABELS`."""


class _Gpu:
    __slots__ = ("figures", "index", "links", "model_name", "pci_bus_id", "repeated")

    def __init__(self) -> None:
        self.index = self.model_name = self.pci_bus_id = ""
        self.figures: dict[str, float] = {}
        self.repeated: dict[str, float] = {}  # the GPU's figures, told by series of its MIG instances
        self.links: dict[int, dict[str, float]] = {}


class DcgmPage:
    """Collects a page, piece by piece. Series of one figure that differ only in labels (pods) count once."""

    def __init__(self, known: KnownLabels | None = None) -> None:
        """Use what earlier pages made `known`, and add to it."""
        self.hostname = ""
        self._known: KnownLabels = {} if known is None else known
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
        name = _NAME.match(line)
        field = None if name is None else FIELDS_BY_NAME.get(name[1])
        if name is None or field is None:
            return
        self._series_read += 1
        if self._series_read > MAXIMUM_SERIES:
            raise TooMuch(f"it has more than {MAXIMUM_SERIES} series")
        plain = _PLAIN.fullmatch(line, name.end())
        place = None if plain is None else self._known.get(plain[1])
        if plain is not None and place is not None:
            self._take(field, place, float(plain[2]) if plain[3] or b"e" in plain[2] else int(plain[2]))
            return
        sample = read_sample(line)
        if sample is None:
            self._unreadable_lines += 1
            return
        place = _place(sample.labels)
        if plain is not None:
            if len(self._known) >= MAXIMUM_LABELS:
                self._known.clear()
            self._known[plain[1]] = place
        self._take(field, place, sample.value)

    def _take(self, field: str, place: _Place, value: float) -> None:
        if not place.uuid:
            return
        gpu = self._gpu(place.uuid)
        self.hostname = self.hostname or place.hostname
        gpu.index = gpu.index or place.index
        gpu.model_name = gpu.model_name or place.model_name
        gpu.pci_bus_id = gpu.pci_bus_id or place.pci_bus_id
        if math.isfinite(value) and not is_blank(value):
            self._sink(gpu, field, place)[field] = value

    def _sink(self, gpu: _Gpu, field: str, place: _Place) -> dict[str, float]:
        link = place.link
        if link:
            if not _LINK.fullmatch(link) or (int(link) not in gpu.links and len(gpu.links) >= MAXIMUM_LINKS):
                return {}
            return gpu.links.setdefault(int(link), {})
        if not place.of_an_instance:
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


def _place(labels: dict[str, str]) -> _Place:
    uuid = next((labels[label] for label in _UUID_LABELS if labels.get(label)), "")
    if not _UUID.fullmatch(uuid):
        return _Place("")  # of a switch or a processor, or not of a GPU that can be told apart
    return _Place(
        uuid,
        hostname=_label(labels, "Hostname", "hostname"),
        index=_label(labels, "gpu"),
        model_name=_label(labels, "modelName", "model_name"),
        pci_bus_id=_label(labels, "pci_bus_id"),
        link=labels.get("nvlink", "")[:_MAXIMUM_LABEL],
        of_an_instance=bool(labels.get("GPU_I_ID")),
    )


def _label(labels: dict[str, str], *names: str) -> str:
    return next((printable(labels[name], _MAXIMUM_LABEL) for name in names if labels.get(name)), "")
