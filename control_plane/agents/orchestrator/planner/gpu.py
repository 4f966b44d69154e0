"""GPU models: names as people write them, canonical names, memory sizes and whole-host forms.

Memory sizes are the vendors' data-sheet figures in decimal gigabytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words

_MEMORY_TABLE = """
H100:80,94,96 H200:141 H20:96,141 H800:80 B100:192 B200:180,192 B300:288 GB200:186,192 GB300:288 GH200:96,144
A100:40,80 A800:40,80 A10G:24 A10:24 A16:16,64 A2:16 A30:24 A40:48 L4:24 L40S:48 L40:48 L20:48 L2:24
T4:16 T4G:16 V100:16,32 P100:12,16 P40:24 P4:8 K80:12,24 M60:8,16 M40:12,24
RTXA4000:16 RTXA4500:20 RTXA5000:24 RTXA6000:48 RTX4000ADA:20 RTX5000ADA:32 RTX6000ADA:48 RTX6000:24,48 RTX8000:48
RTXPRO6000:96 RTXPRO4500:32 RTXPRO5000:48
RTX2080:8 RTX2080TI:11 RTX3060:12 RTX3070:8 RTX3080:10,12 RTX3080TI:12 RTX3090:24 RTX3090TI:24 RTX4060:8 RTX4060TI:8,16
RTX4070:12 RTX4070TI:12 RTX4080:16 RTX4090:24 RTX5070:12 RTX5070TI:16 RTX5080:16 RTX5090:32 TITANV:12 TITANRTX:24
MI25:16 MI50:16,32 MI100:32 MI210:64 MI250:128 MI250X:128 MI300X:192 MI300A:128 MI325X:256 MI350X:288 MI355X:288
GAUDI2:96 GAUDI3:128
"""
MEMORY_GB: Mapping[str, tuple[int, ...]] = {
    name: tuple(int(size) for size in sizes.split(","))
    for name, sizes in (entry.split(":") for entry in _MEMORY_TABLE.split())
}
"""Canonical GPU model to the memory sizes it is sold with."""

_INSTANCE_TABLE = """
p3.2xlarge=1xV100 p3.8xlarge=4xV100 p3.16xlarge=8xV100 p4d.24xlarge=8xA100-40 p4de.24xlarge=8xA100-80
p5.4xlarge=1xH100 p5.48xlarge=8xH100 p5e.48xlarge=8xH200 p5en.48xlarge=8xH200 p6-b200.48xlarge=8xB200
p6-b300.48xlarge=8xB300 g4dn.xlarge=1xT4 g4dn.2xlarge=1xT4 g4dn.4xlarge=1xT4 g4dn.8xlarge=1xT4
g4dn.12xlarge=4xT4 g4dn.16xlarge=1xT4 g4dn.metal=8xT4 g5.xlarge=1xA10G g5.2xlarge=1xA10G g5.4xlarge=1xA10G
g5.8xlarge=1xA10G g5.12xlarge=4xA10G g5.16xlarge=1xA10G g5.24xlarge=4xA10G g5.48xlarge=8xA10G g6.xlarge=1xL4
g6.2xlarge=1xL4 g6.4xlarge=1xL4 g6.8xlarge=1xL4 g6.12xlarge=4xL4 g6.16xlarge=1xL4 g6.24xlarge=4xL4
g6.48xlarge=8xL4 g6e.xlarge=1xL40S g6e.2xlarge=1xL40S g6e.4xlarge=1xL40S g6e.8xlarge=1xL40S g6e.12xlarge=4xL40S
g6e.24xlarge=4xL40S g6e.48xlarge=8xL40S a2-highgpu-1g=1xA100-40 a2-highgpu-2g=2xA100-40 a2-highgpu-4g=4xA100-40
a2-highgpu-8g=8xA100-40 a2-megagpu-16g=16xA100-40 a2-ultragpu-1g=1xA100-80 a2-ultragpu-2g=2xA100-80
a2-ultragpu-4g=4xA100-80 a2-ultragpu-8g=8xA100-80 a3-highgpu-1g=1xH100 a3-highgpu-2g=2xH100 a3-highgpu-4g=4xH100
a3-highgpu-8g=8xH100 a3-megagpu-8g=8xH100 a3-ultragpu-8g=8xH200 a4-highgpu-8g=8xB200 g2-standard-4=1xL4
g2-standard-8=1xL4 g2-standard-12=1xL4 g2-standard-16=1xL4 g2-standard-24=2xL4 g2-standard-48=4xL4
g2-standard-96=8xL4 standard_nc24ads_a100_v4=1xA100-80 standard_nc48ads_a100_v4=2xA100-80
standard_nc96ads_a100_v4=4xA100-80 standard_nd96asr_v4=8xA100-40 standard_nd96amsr_a100_v4=8xA100-80
standard_nd96isr_h100_v5=8xH100 standard_nd96isr_h200_v5=8xH200 standard_nc40ads_h100_v5=1xH100
standard_nc80adis_h100_v5=2xH100 standard_nc6s_v3=1xV100 standard_nc12s_v3=2xV100 standard_nc24s_v3=4xV100
standard_nc4as_t4_v3=1xT4 standard_nc64as_t4_v3=4xT4 standard_nd96isr_mi300x_v5=8xMI300X
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A mention of a GPU model. `per_node` is set when a whole host type was named, such as DGX H100."""

    model: str
    memory_gb: int | None = None
    per_node: int | None = None


def _instances() -> dict[str, Gpu]:
    known: dict[str, Gpu] = {}
    for entry in _INSTANCE_TABLE.split():
        name, _, shape = entry.partition("=")
        count, _, model = shape.partition("x")
        model, _, memory = model.partition("-")
        known[name] = Gpu(model, int(memory) if memory else None, int(count))
    return known


INSTANCES: Mapping[str, Gpu] = _instances()
"""Cloud instance types and the GPUs in them."""

_BEFORE = r"(?:(?<![a-z0-9_.@/-])|(?<=[0-9]x)|(?<=[0-9])(?<!\.[0-9])|(?<=[0-9]-)|(?<=x-))"
_PREFIX = r"(?:(?:nvidia|geforce|tesla|quadro|amd|radeon|instinct|intel|habana)[ -]){0,2}"
_HOST_PREFIX = r"(?P<host>(?:nvidia )?(?:dgx|hgx)[ -](?:pod |box |node )?)?"
_NAMES = (
    r"(?P<data>gb ?[23]00|gh ?200|[hb] ?-?[123]00|h20|h800|a-?100|a800|a10g|a10|a16|a30|a40|l40s|l40|"
    r"l20|l4|t4g|t4|v-?100|p100|p40|k80|m60)|"
    r"(?P<amd>mi ?-?(?:25|50|100|210|250x?|300[xa]?|325x?|350x?|355x?))|"
    r"(?P<gaudi>gaudi ?-?[23])|"
    r"(?P<workstation>rtx[ -]?(?:pro[ -]?)?(?:a[456]\d00|[456]000[ -]?ada|6000|8000|4500|5000(?= ada|"
    r"-ada))(?: ada(?: generation)?)?|a6000|a5000|a4000)|"
    r"(?P<game>(?:rtx|gtx)[ -]?[2345]0[5-9]0(?:[ -]?(?:ti|super))?)|"
    r"(?P<bare>[2345]0[6-9]0(?:[ -]?ti)?(?=s(?![a-z0-9])| gpus?(?![a-z])| cards?(?![a-z])|"
    r" ti(?![a-z])| box| node| machine|x\d| ?x ?\d|[,.;)]|$| (?:for|on|with|in|to|at|and|by|each|4)(?![a-z0-9])))|"
    r"(?P<counted>(?:(?<=\dx )|(?<=\d x )|(?<=\dx)|(?<=lone )|(?<=single )|(?<= my )|(?<=(?:our|one|two|six|ten) )|"
    r"(?<=(?:four|five|idle|free) )|(?<=(?:three|seven|eight|spare) ))[2345]0[6-9]0(?:[ -]?ti)?)|"
    r"(?P<small>(?<=tesla )p4|(?<=nvidia )(?:p4|a2)|(?:p4|a2)(?= gpu)|(?<=[0-9]x )p4|(?<=[0-9]x)p4|"
    r"(?P<titan>titan ?(?:v|rtx|xp)))"
)
_VARIANT = r"(?:[ -](?:sxm[2-6]?|pcie|nvl(?:72)?|hgx|mega|superchips?|tensor core))?"
_MEMORY = (
    r"(?:[ /-]?\(?(?P<memory>\d{2,3})[ -]?(?:gb|gib|go|g)(?: (?:vram|hbm[23]?e?|"
    r"memory))?\)?(?![a-z0-9]))?"
)
_PLURAL = r"(?:'?s|er)?"
_AFTER = (
    r"(?!(?!x[0-9])[a-rt-z0-9]|s[a-z0-9]|_|\.[a-z]|-(?!(?:nodes?|gpus?|boxe?s?|hosts?|machines?|cards?|servers?|"
    r"instances?|knoten|karten|class|based|only|pool|x?\d{1,2}(?![a-z0-9]))(?![a-z0-9]))[a-z0-9])"
)
_GPU = re.compile(
    _BEFORE + _PREFIX + _HOST_PREFIX + _PREFIX + f"(?:{_NAMES})" + _VARIANT + _MEMORY + _VARIANT + _PLURAL + _AFTER
)
_INSTANCE = re.compile(
    r"(?<![a-z0-9_.])(?:"
    + "|".join(re.escape(name) for name in sorted(INSTANCES, key=len, reverse=True))
    + r")s?(?![a-z0-9])"
)
_NAMED_POOL = re.compile(words("pool|queue|partition|team|called|named") + "(?: called| named)? $")
_GROUPS = ("data", "amd", "gaudi", "workstation", "game", "bare", "counted", "small")


def canonical(name: str) -> str:
    """Return the canonical model for a name as written (`RTX 4090`, `A-100`, `a6000`); unknown names in capitals."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("generation")
    plain = re.sub(r"^(?:nvidia|geforce|tesla|quadro|amd|radeon|instinct)+", "", plain)
    if re.fullmatch(r"a[456]000", plain) or re.fullmatch(r"[2345]0[5-9]0(?:ti|super)?", plain):
        plain = f"rtx{plain}"
    upper = plain.upper()
    return {"MI300": "MI300X", "MI325": "MI325X", "MI350": "MI350X", "MI355": "MI355X"}.get(upper, upper)


def recognise_gpus(shadow: Shadow) -> None:
    """Replace GPU models and cloud instance types by marks with `Gpu` values."""
    shadow.replace_all(
        _INSTANCE, Kind.GPU, lambda m: INSTANCES[m.group() if m.group() in INSTANCES else m.group()[:-1]]
    )
    shadow.replace_all(_GPU, Kind.GPU, lambda m: _gpu(shadow.text, m))


def _gpu(text: str, match: re.Match[str]) -> Gpu | None:
    if _NAMED_POOL.search(text[max(0, match.start() - 24) : match.start()]):
        return None
    name = next(group for group in map(match.group, _GROUPS) if group)
    memory = match.group("memory")
    return Gpu(canonical(name), int(memory) if memory else None, 8 if match.group("host") else None)


GPU = mark(Kind.GPU)
