"""From the text of a DCGM exporter's page to figures by GPU."""

import re
from typing import Final

from node_agent.probe.dcgm.exposition import ExpositionReader, Labels, TooMuch, parse_value
from node_agent.probe.dcgm.fields import OF_A_GPU, OF_AN_INSTANCE, PREFIX, field_name, is_blank
from node_agent.probe.dcgm.reading import MAXIMUM_GPUS, MAXIMUM_LINKS, DcgmGpu

_UUID: Final = re.compile(r"GPU-[A-Za-z0-9-]{1,90}", re.ASCII)
_LINK: Final = re.compile(r"[0-9]{1,2}", re.ASCII)
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
    """Collects a page. Series of one figure that differ only in labels (pods, containers) count once."""

    def __init__(self) -> None:
        self.hostname = ""
        self._gpus: dict[str, _Gpu] = {}
        self._reader = ExpositionReader(lambda name: name.startswith(PREFIX), self._series)

    def feed(self, data: bytes) -> None:
        """Take more of the page. Raises TooMuch."""
        self._reader.feed(data)

    def end(self) -> tuple[dict[str, DcgmGpu], int]:
        """Return the GPUs by UUID, and how many of DCGM's lines could not be read."""
        self._reader.end()
        gpus = {
            uuid: DcgmGpu(uuid, gpu.index, gpu.model_name, gpu.pci_bus_id, gpu.repeated | gpu.figures, gpu.links)
            for uuid, gpu in self._gpus.items()
        }
        return gpus, self._reader.unreadable_lines

    def _series(self, name: str, labels: Labels, text: str) -> None:
        uuid = next((labels[label] for label in _UUID_LABELS if labels.get(label)), "")
        if not _UUID.fullmatch(uuid):
            return  # of a switch or a processor, or not of a GPU that can be told apart
        gpu = self._gpu(uuid)
        self.hostname = self.hostname or labels.get("Hostname") or labels.get("hostname", "")
        gpu.index = gpu.index or labels.get("gpu", "")
        gpu.model_name = gpu.model_name or labels.get("modelName") or labels.get("model_name", "")
        gpu.pci_bus_id = gpu.pci_bus_id or labels.get("pci_bus_id", "")
        field = field_name(name)
        value = parse_value(text) if field in OF_A_GPU else None
        if value is None or is_blank(value):
            return
        self._sink(gpu, field, labels)[field] = value

    def _sink(self, gpu: _Gpu, field: str, labels: Labels) -> dict[str, float]:
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
