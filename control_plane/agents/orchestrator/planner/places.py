"""Providers and regions: where a job may or may not run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words

ON_PREM = "onprem"


@dataclass(frozen=True, slots=True)
class Region:
    """A region. `code` is the provider's own name where it was written so, else the place in lower case."""

    code: str
    is_place: bool


_PROVIDERS: Mapping[str, str] = {
    "aws": words("aws|amazon web services|amazon|ec2|亚马逊云|亚马逊|アマゾン"),
    "gcp": words("gcp|google cloud platform|google cloud|google|gce|gke|谷歌云|谷歌|グーグル"),
    "azure": words("azure|microsoft azure|microsoft|微软云|微软|アジュール"),
    "coreweave": words("coreweave|core weave"),
    "lambda": words("lambda labs?|lambdalabs|lambda cloud|lambda(?= cloud)|lambda(?! functions?)"),
    "vast": words("vast\\.ai|vastai|vast"),
    "runpod": words("runpod|run pod"),
    "oci": words("oracle cloud|oci|oracle"),
    "alibaba": words("alibaba cloud|aliyun|alicloud|alibaba|阿里云"),
    "crusoe": words("crusoe"),
    "nebius": words("nebius"),
    "ovh": words("ovh|ovhcloud"),
    "paperspace": words("paperspace"),
    ON_PREM: words(
        "on-?prem(?:ise|ises)?|on premises?|onpremises?|own (?:hosts?|hardware|gpus?|machines?|"
        "servers?|cluster|nodes?|boxes|data ?cent(?:er|re))|"
        "in-?house(?: cluster| hardware| gpus| machines)?|local (?:cluster|gpus?|machines?|hosts?|"
        "hardware|boxes|fleet|servers?|nodes?)|bare[ -]metal (?:hosts|cluster)|"
        "our (?:cluster|data ?cent(?:er|re)|racks?|local|server room)|the office (?:cluster|"
        "servers?)|locally",
        "eigenen? (?:hardware|servern?|rechnern?|cluster|knoten|maschinen)|lokal(?:en?)?(?: cluster|"
        " servern?| hardware)?|"
        "propios? (?:servidores|equipos)|servidores propios|nuestros (?:servidores|equipos)|"
        "maquinas propias|sur site|nos (?:serveurs|machines)|serveurs internes|en interne|"
        "in sede|nostri server|nossos servidores|servidores proprios|maquinas locais",
        "本地(?:集群|机房|服务器|机器)?|自有(?:机器|集群|服务器)?|自建(?:机房|集群)?|"
        "オンプレ(?:ミス)?|自社(?:サーバー?|クラスタ)?",
    ),
}
_NOT_A_PROVIDER = re.compile(
    r" (?:maps?|docs?|drive|sheets?|calendar|search|reviews?|scholar|team|products?|teams?|office|"
    r"word|excel)(?![a-z])"
)

_REGION_CODE = re.compile(
    r"(?<![a-z0-9_.-])(?:"
    r"(?:us|eu|ap|ca|sa|me|af|il|mx|cn)-(?:gov-)?(?:north|south|east|west|central|northeast|"
    r"northwest|southeast|southwest)-\d[a-f]?|"
    r"(?:us|europe|asia|australia|africa|me|northamerica|southamerica)-(?:north|south|east|west|"
    r"central|northeast|northwest|southeast|southwest)\d{1,2}(?:-[a-f])?|"
    r"(?:east|west|north|south|central|northcentral|southcentral|westcentral)us(?:2|3)?(?:euap)?|"
    r"(?:west|north)europe|(?:uk|france|germany|norway|switzerland|sweden|italy|poland|spain|uae|"
    r"qatar|israel|mexico|korea|japan|canada|brazil|australia|india|southafrica)"
    r"(?:south|north|west|east|central|westcentral|southeast|northeast|southwest)\d?|(?:south|"
    r"central|west)india|(?:southeast|east)asia|"
    r"(?:us|eu|ca|ap)-(?:east|west|central|north|south)-\d{2}[a-z]|(?:cn|ap|eu|us)-(?:beijing|"
    r"shanghai|hangzhou|shenzhen|hongkong|frankfurt|singapore)(?:-\d)?|"
    r"asia-(?:northeast|south|southeast|east)-\d|europe-(?:central|south|west|north)-\d|(?:us|me|"
    r"australia)-(?:midwest|southeast|east|west|central)-\d|"
    r"ord1|las1|lga1|rno2"
    r")(?![a-z0-9])(?!-\d)"
)
_SPACED = re.compile(
    r"(?<![a-z0-9])(?:us|eu|ap|ca) (?:east|west|central|north|south|northeast|southeast) \d(?![a-z0-9])|"
    r"(?<![a-z0-9])(?:east|west|north central|south central|west central|"
    r"central) us(?: ?[23])?(?![a-z0-9])|(?<![a-z0-9])(?:west|north) europe(?= region)(?![a-z0-9])"
)
_CITIES = """
frankfurt:aws=eu-central-1,gcp=europe-west3,azure=germanywestcentral
dublin:aws=eu-west-1,azure=northeurope
ireland:aws=eu-west-1,azure=northeurope
london:aws=eu-west-2,gcp=europe-west2,azure=uksouth
paris:aws=eu-west-3,gcp=europe-west9,azure=francecentral
stockholm:aws=eu-north-1,azure=swedencentral
milan:aws=eu-south-1,gcp=europe-west8
virginia:aws=us-east-1,gcp=us-east4,azure=eastus
ohio:aws=us-east-2
oregon:aws=us-west-2,gcp=us-west1
california:aws=us-west-1,azure=westus
iowa:gcp=us-central1,azure=centralus
tokyo:aws=ap-northeast-1,gcp=asia-northeast1,azure=japaneast
osaka:aws=ap-northeast-3,gcp=asia-northeast2,azure=japanwest
seoul:aws=ap-northeast-2,gcp=asia-northeast3,azure=koreacentral
singapore:aws=ap-southeast-1,gcp=asia-southeast1,azure=southeastasia
sydney:aws=ap-southeast-2,gcp=australia-southeast1,azure=australiaeast
mumbai:aws=ap-south-1,gcp=asia-south1,azure=centralindia
montreal:aws=ca-central-1,gcp=northamerica-northeast1
zurich:aws=eu-central-2,gcp=europe-west6,azure=switzerlandnorth
amsterdam:azure=westeurope
belgium:gcp=europe-west1
netherlands:gcp=europe-west4,azure=westeurope
finland:gcp=europe-north1
"""
CITY_REGIONS: Mapping[str, Mapping[str, str]] = {
    city: dict(pair.split("=") for pair in regions.split(","))
    for city, regions in (line.split(":") for line in _CITIES.split())
}
"""Cities and the region that a provider names after them, from the providers' public region lists."""

_CITY_WORDS = {
    "東京": "tokyo",
    "东京": "tokyo",
    "大阪": "osaka",
    "法兰克福": "frankfurt",
    "新加坡": "singapore",
    "francfort": "frankfurt",
    "francoforte": "frankfurt",
    "tokio": "tokyo",
    "londres": "london",
    "londra": "london",
    "irlanda": "ireland",
    "irland": "ireland",
    "irlande": "ireland",
}
_AREAS: Mapping[str, str] = {
    "eu": words("eu|europe|european union|european|europa|l'europe|l'ue|ue|欧洲|欧盟|ヨーロッパ|欧州|eu圏"),
    "us": words("usa|united states|us(?= (?:region|regions|only|datacent|soil|zone|cloud))|美国|アメリカ|米国"),
    "uk": words("uk|united kingdom"),
    "asia": words("asia|apac|亚洲|アジア"),
    "germany": words("germany|deutschland|alemania|allemagne|germania|alemanha|德国|ドイツ"),
    "japan": words("japan|japon|giappone|日本"),
    "china": words("mainland china|中国"),
}
_PLACE_LEAD = re.compile(
    words(
        "in|within|inside|region|regions|to|from|outside|leave|stays? in|stay|not|no|avoid|except|"
        "near|or|and|only|location|hosted in|at",
        "en|dentro de|im|innerhalb|der|dans|in der|aus|nella|na|no|em|a|au|ad|aux|fuera de|de|del|la",
    )
    + r"(?: (?:the|an?|der|die|la|el|l'|any|our))?[ :=(]{1,3}$|[,/(]\s?$|[在于]$|"
    + mark(Kind.PROVIDER, Kind.REGION)
    + r"[ '\u306e,(-]{0,2}s? ?$"
)
_REGION_TAIL = re.compile(r" ?(?:region|regions|only|datacent|data cent|zone|区域|地区|リージョン|内|にある|で|の)")


def recognise_places(shadow: Shadow) -> None:
    """Replace providers (values: `str`) and regions (values: `Region`) by marks."""
    shadow.replace_all(_REGION_CODE, Kind.REGION, lambda m: Region(m.group(), is_place=False))
    shadow.replace_all(_SPACED, Kind.REGION, lambda m: Region(_joined(m.group()), is_place=False))
    for name, pattern in _PROVIDERS.items():
        shadow.replace_all(
            re.compile(pattern),
            Kind.PROVIDER,
            partial(_provider, shadow, name),
        )
    cities = words("|".join(CITY_REGIONS), "|".join(_CITY_WORDS))
    shadow.replace_all(
        re.compile(cities), Kind.REGION, lambda m: _place(shadow.text, m, _CITY_WORDS.get(m.group(), m.group()))
    )
    for name, pattern in _AREAS.items():
        shadow.replace_all(re.compile(pattern), Kind.REGION, partial(_area, shadow, name))


def _provider(shadow: Shadow, name: str, match: re.Match[str]) -> str | None:
    return None if _NOT_A_PROVIDER.match(shadow.text, match.end()) else name


def _area(shadow: Shadow, name: str, match: re.Match[str]) -> Region | None:
    return _place(shadow.text, match, name)


def region_code(region: Region, providers: tuple[str, ...]) -> str:
    """Return the provider's own code for a city, where exactly one provider is known, else the region as it is."""
    if region.is_place and len(providers) == 1:
        return CITY_REGIONS.get(region.code, {}).get(providers[0], region.code)
    return region.code


def _place(text: str, match: re.Match[str], name: str) -> Region | None:
    leads = _PLACE_LEAD.search(text[max(0, match.start() - 32) : match.start()])
    return Region(name, is_place=True) if leads or _REGION_TAIL.match(text, match.end()) else None


def _joined(text: str) -> str:
    """Return the code of a region written with blanks: `us east 1`, `East US 2`."""
    if text[:3] in ("us ", "eu ", "ap ", "ca "):
        return text.replace(" ", "-")
    return text.replace(" ", "")
