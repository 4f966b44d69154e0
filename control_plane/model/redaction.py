"""Takes secrets out of text before a model, an audit record or a screen gets it.

What is hidden: the known forms of keys and tokens, passwords in URLs, private keys, headers that authenticate,
values of names such as PASSWORD, and long runs of characters that look random. A secret becomes
`[hidden <kind>]`. It is better to hide too much than too little; ids, hexadecimal digests, versions and paths stay,
because diagnoses need them. Each pattern takes time in proportion to the text: it meets hostile text first.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

DEPTH_MAX: Final = 32
"""Deeper nesting of data is cut."""

_RANDOM_LENGTH: Final = 40
_RANDOM_BITS: Final = 4.6  # of entropy a character; random base64 of 40 has about 4.9, long names about 4.2
_WEAK_LENGTH: Final = 12
_WEAK_BITS: Final = 3.0
_USER_LENGTH: Final = 20

# The start of a known form, and what may follow. (?<![A-Za-z0-9]) keeps "task-..." from being taken for "sk-...".
_FORMS: Final = (
    ("key", r"sk-[A-Za-z0-9_\-]{16,}"),  # OpenAI, Anthropic, OpenRouter
    ("key", r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}"),  # Stripe
    ("key", r"oq[jk]_[A-Za-z0-9_\-]{8,}"),  # our API keys and join tokens
    ("key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}"),  # AWS access key ids
    ("key", r"AIza[A-Za-z0-9_\-]{30,}"),  # Google API keys
    ("token", r"ya29\.[A-Za-z0-9_\-.]{16,}"),  # Google access tokens
    ("token", r"1//0[A-Za-z0-9_\-]{20,}"),  # Google refresh tokens
    ("secret", r"GOCSPX-[A-Za-z0-9_\-]{16,}"),  # Google OAuth clients
    ("secret", r"[A-Za-z0-9_~.\-]{3}8Q~[A-Za-z0-9_~.\-]{30,}"),  # Azure client secrets
    ("token", r"(?:hf|api_org)_[A-Za-z0-9]{16,}"),  # Hugging Face
    ("token", r"xox[a-z](?:\.[a-z]+)?-[A-Za-z0-9\-]{8,}"),  # Slack
    ("token", r"xapp-[A-Za-z0-9\-]{8,}"),
    ("token", r"gh[a-z]_[A-Za-z0-9]{16,}"),  # GitHub
    ("token", r"github_pat_[A-Za-z0-9_]{16,}"),
    ("token", r"gl[a-z]{2,8}-[A-Za-z0-9_\-]{16,}"),  # GitLab
    ("token", r"npm_[A-Za-z0-9]{20,}"),
    ("token", r"pypi-[A-Za-z0-9_\-]{20,}"),
    ("token", r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{16,}"),  # Docker Hub
    ("key", r"nvapi-[A-Za-z0-9_\-]{16,}"),  # NVIDIA
    ("key", r"(?:gsk|r8|key|fw|pplx|tgp_v1)_[A-Za-z0-9]{24,}"),  # hosted models
    ("key", r"xai-[A-Za-z0-9]{24,}"),
    ("token", r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"),  # SendGrid
    ("token", r"hv[sbr]\.[A-Za-z0-9_\-]{16,}"),  # Vault
    ("token", r"do[opr]_v1_[a-f0-9]{16,}"),  # DigitalOcean
    ("token", r"dapi[a-f0-9]{24,}"),  # Databricks
    ("key", r"tskey-[A-Za-z0-9\-]{12,}"),  # Tailscale
    ("token", r"ATATT[A-Za-z0-9_\-=]{20,}"),  # Atlassian
    ("token", r"sh(?:pat|pca|ppa|pss)_[a-f0-9]{20,}"),  # Shopify
    ("key", r"AGE-SECRET-KEY-1[A-Z0-9]{16,}"),
    ("key", r"S[ACNOPUX][A-Z2-7]{56}"),  # NATS seeds
    ("token", r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,}"),  # Telegram
    ("token", r"sbp_[a-f0-9]{32,}"),  # Supabase
    ("token", r"pul-[a-f0-9]{32,}"),  # Pulumi
    ("token", r"lsv2_(?:pt|sk)_[A-Za-z0-9_]{24,}"),  # LangSmith
    ("key", r"NRAK-[A-Z0-9]{20,}"),  # New Relic
    ("key", r"key-[a-f0-9]{32}(?![A-Za-z0-9])"),  # Mailgun
    ("token", r"eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,4}"),  # JWT and JWE, also cut ones
)
_KNOWN: Final = tuple((kind, re.compile(r"(?<![A-Za-z0-9])" + form)) for kind, form in _FORMS)

_PRIVATE_KEY: Final = re.compile(  # also one that is cut off
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s\\,:]|-(?!----))*+"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s\"'<>:/@]{0,256}):([^\s\"'<>/]{1,4096})@")
_URL_USER: Final = re.compile(r"(?<=://)([^\s\"'<>:/@]{20,1024})@")
_WEBHOOK: Final = re.compile(
    r"(?i)((?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks|"
    r"[a-z0-9.\-]{1,64}\.webhook\.office\.com/webhookb2)/)(?!\[hidden)[^\s\"'<>]+"
)
_HEADER: Final = re.compile(
    r"(?i)((?:proxy-)?authorization[\"']?\s{0,4}[:=]\s{0,4}+[\"']?+(?:(?:bearer|basic|token|digest|negotiate|apikey)\s{1,4}+)?+)"
    r"(?!\[hidden)[^\s\"',;]+"
)
_COOKIE: Final = re.compile(r"(?i)(\b(?:set-)?cookie:[ \t]{0,4}+)(?!\[hidden)[^\r\n\"']+")
_BEARER: Final = re.compile(r"(?i)(\bbearer[ \t]{1,4})(?=[^\s\"']{0,64}[0-9])([A-Za-z0-9._~+/=\-]{12,})")
_CURL_USER: Final = re.compile(
    r"(\bcurl\b[^\n]{0,512}?\s(?:-u|--user)[ =]?\s{0,4}[\"']?[^\s:\"']{1,128}:)(?!\[hidden)[^\s\"']+"
)
# wandb login KEY; docker login, sshpass and snowsql with -p PASSWORD; mysql with -pPASSWORD. -p of ssh is a port.
_LOGIN: Final = re.compile(
    r"((?:\b(?:(?:docker|podman|helm[ \t]{1,4}registry)[ \t]{1,4}login|sshpass|snowsql)\b"
    r"[^\n|;&]{0,256}?[ \t]-p[ \t]{0,4}|"
    r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n|;&]{0,256}?[ \t]-p)[\"']?)(?!\[hidden|-)[^\s\"']+"
)
_WANDB: Final = re.compile(r"(\bwandb[ \t]{1,4}login(?:[ \t]{1,4}--[a-z\-]{1,32}){0,4}[ \t]{1,4})[A-Za-z0-9_\-]{32,}")
_NETRC: Final = re.compile(r"(\blogin\s{1,8}\S{1,256}\s{1,8}password\s{1,8})(?!\[hidden)\S+")
_SPOKEN: Final = re.compile(
    r"(?i)((?:password|passphrase|passwd)\s{1,4}(?:is|was)[ \t]{0,4}:?[ \t]{1,4}[\"']?)(?!\[hidden)[^\s\"']+"
)

_STRONG: Final = (
    r"pass(?:word|wd|phrase|code|wort)|passwd|pwd|kennwort|mot[_\-]?de[_\-]?passe|contrase(?:ñ|n)a|senha|secret(?:[_\-.]?(?:access)?[_\-.]?key)?|"
    r"(?:api|access|private|account|encryption|signing|master|auth|ssh|license|shared[_\-.]?access|subscription)[_\-.]?key|"
    r"(?:access|refresh|id|bearer|session|security|api|auth|bot|app|hub|user|oauth2?|registry|deploy|hf|gh|github|gitlab|"
    r"slack|join|bootstrap|service|personal)[_\-.]?token|credentials?|connection[_\-.]?string|conn[_\-.]?str"
)
_WEAK: Final = r"token|(?<![A-Za-z])key|_key|(?<![A-Za-z])pass|_pass|(?<![A-Za-z])auth|_auth|signature|(?<![A-Za-z])sig"
# A name, then "=", ":" or "=>", or white space after --name; then a value in quotes, in escaped quotes, or up to white
# space. A quoted value that is cut off ends with its line.
_VALUE: Final = (
    r"(?:\\\"(?P<escaped>(?:(?!\\\")[^\n])*+)|\"(?P<double>(?:[^\"\\\n]|\\[^\n])*+)|'(?P<single>(?:[^'\\\n]|\\[^\n])*+)|"
    r"(?P<plain>[^\s\"'`\\][^\s\"'`]*))"
)
_QUERY: Final = re.compile(
    rf"(?i)(?<=[?&])([\w.\-]{{0,64}}?(?:{_STRONG}|{_WEAK}))=(?!\[hidden)(?P<plain>[^&\s\"'<>#]+)"
)
_ASSIGNED: Final = re.compile(
    rf"(?i)(?:(?P<strong>{_STRONG})|{_WEAK})(?:\\?[\"'])?\s{{0,8}}(?:=>|:=|=|:)[ \t]{{0,8}}{_VALUE}"
)
_OPTION: Final = re.compile(rf"(?i)--[\w\-]{{0,64}}?(?:(?P<strong>{_STRONG})|{_WEAK})[ \t]{{1,8}}(?!-){_VALUE}")
_NAME: Final = re.compile(rf"(?i)(?:{_STRONG}|token|_key|_pass|_auth)\Z")

_VARIABLE: Final = re.compile(r"_?(?:TOKEN|KEY|PASS|AUTH)=")  # in an environment or a script
_DOTTED: Final = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+[,;)\]}:]*")  # names of parameters: model.layers.0.weight
_HARMLESS: Final = re.compile(
    r"(?i:true|false|null|none|nil|yes|no|unset|undefined|\*+|x{3,}|\.{3,})[,;)\]}]*|\$\{[^}]*\}[,;)\]}]*|\$[A-Z_][A-Z0-9_]*|"
    r"<[^>]*>|\{\{.*|\[hidden.*|[{\[(]+|[,;)\]}]+"
)
_MANGLED: Final = re.compile(
    r"_{1,3}Z(?:N[A-Za-z0-9]{0,4})?[0-9]{1,3}[A-Za-z_]"
)  # names of C++: stacks are full of them
_RUN: Final = re.compile(rf"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{{{_RANDOM_LENGTH},}}={{0,2}}")

# Without any of these in it, in small letters, no pattern above can match; with one, one may.
_MARKS: Final = (
    "sk-", "sk_", "rk_", "pk_", "oqj_", "oqk_", "akia", "asia", "abia", "acca", "aiza", "ya29.", "1//0", "gocspx-",
    "8q~", "hf_", "api_org_", "xox", "xapp-", "github_pat_", "npm_", "pypi-", "dckr_", "nvapi-", "gsk_", "r8_", "fw_",
    "pplx_", "tgp_v1_", "xai-", "sg.", "hvs.", "hvb.", "hvr.", "_v1_", "dapi", "atatt", "shpat_", "shpca_", "shppa_",
    "shpss_", ":aa", "eyj", "://", "hooks.slack", "discord", "webhook", "auth", "cookie", "bearer", "curl", "login",
    "pass", "pwd", "secret", "token", "key", "credential", "conn", "sig",
    "sbp_", "pul-", "lsv2_", "nrak-", "mysql", "mariadb", "snowsql", "kennwort", "contrase", "senha",
)  # fmt: skip


def _any_of(words: Iterable[str]) -> str:
    """Return a pattern that finds any of these words: each beginning that some have in common is in it once."""
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    if "" in tails:
        return ""  # one of them ends here, and is found
    ways = [re.escape(first) + _any_of(rest) for first, rest in sorted(tails.items())]
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


_MARKED: Final = re.compile(_any_of(_MARKS))
_FOLDED: Final = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}  # what patterns take for a letter of ASCII
_PREFIXED: Final = re.compile(r"gh[a-z]_|gl[a-z]{2,8}-")
_LONG: Final = re.compile(rf"[A-Za-z0-9+/_\-]{{{_RANDOM_LENGTH},}}")
# Nearly all that is said of faults names a GPU. Its digits are too few to look random; JSON may put a letter before it.
_GPU: Final = re.compile(
    r"(?:[bfnrt]|u[0-9a-f]{4})?(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def may_hold_secret(text: str) -> bool:
    """Tell fast whether `redact` might find anything in a text: False is certain, True is not."""
    small = text.lower() if text.isascii() else text.translate(_FOLDED).lower()
    if _MARKED.search(small) is not None or _PREFIXED.search(text) is not None:
        return True
    return not all(map(_is_tame, _LONG.findall(text)))


def _is_tame(run: str) -> bool:
    """Tell whether a run of letters and digits surely is a digest, a path or the UUID of a GPU."""
    return run == run.lower() or _is_path(run) or _GPU.fullmatch(run) is not None


def _is_path(run: str) -> bool:
    return "/" in run and ("-" in run or "_" in run)


def redact(text: str) -> str:
    """Return `text` with every secret that can be recognised replaced by `[hidden <kind>]`.

    Applying it twice changes nothing more. It raises nothing and takes time in proportion to the text.
    """
    if not may_hold_secret(text):
        return text
    text = _PRIVATE_KEY.sub("[hidden private key]", text)
    for kind, form in _KNOWN:
        text = form.sub(f"[hidden {kind}]", text)
    text = _URL_PASSWORD.sub(r"\1:[hidden password]@", text)
    text = _URL_USER.sub(_url_user, text)
    text = _WEBHOOK.sub(r"\1[hidden webhook]", text)
    text = _HEADER.sub(r"\1[hidden header]", text)
    text = _COOKIE.sub(r"\1[hidden cookie]", text)
    text = _BEARER.sub(r"\1[hidden token]", text)
    text = _CURL_USER.sub(r"\1[hidden password]", text)
    text = _LOGIN.sub(r"\1[hidden password]", text)
    text = _WANDB.sub(r"\1[hidden key]", text)
    text = _NETRC.sub(r"\1[hidden password]", text)
    text = _SPOKEN.sub(r"\1[hidden password]", text)
    text = _QUERY.sub(r"\1=[hidden value]", text)
    text = _ASSIGNED.sub(_assigned, text)
    text = _OPTION.sub(_assigned, text)
    return _RUN.sub(_random, text)


def redact_json(value: Json, *, depth: int = 0) -> Json:
    """Return data of JSON with secrets hidden: in every text, and whole where a key such as "password" names it.

    Data deeper than DEPTH_MAX becomes "[hidden: nested too deep]".
    """
    if depth > DEPTH_MAX:
        return "[hidden: nested too deep]"
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): _entry(str(key), item, depth) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [redact_json(item, depth=depth + 1) for item in value]
    return value


def _entry(key: str, item: Json, depth: int) -> Json:
    if isinstance(item, str) and item and _NAME.search(key) and not _HARMLESS.fullmatch(item):
        return "[hidden value]"
    return redact_json(item, depth=depth + 1)


def _assigned(match: re.Match[str]) -> str:
    groups = match.groupdict()
    name = next((name for name in ("escaped", "double", "single", "plain") if groups.get(name)), None)
    if name is None:
        return match.group()
    value: str = groups[name]
    whole = match.group()
    strong = groups["strong"] is not None or _VARIABLE.match(whole) is not None
    if _HARMLESS.fullmatch(value) or not (strong or _weakly(value)):
        return whole
    start, end = match.span(name)
    return whole[: start - match.start()] + "[hidden value]" + whole[end - match.start() :]


def _weakly(value: str) -> bool:
    return _looks_random(value, _WEAK_LENGTH, _WEAK_BITS) and not _DOTTED.fullmatch(value)


def _url_user(match: re.Match[str]) -> str:
    return "[hidden token]@" if _looks_random(match.group(1), _USER_LENGTH, _WEAK_BITS) else match.group()


def _random(match: re.Match[str]) -> str:
    text = match.group()
    # Digests are hexadecimal; paths have many slashes, or a dash beside one, which neither alphabet of base64 has.
    is_path = text.count("/") > 2 + len(text) // 24 or _is_path(text)
    if is_path or text.upper() == text or text.lower() == text or _MANGLED.match(text):
        return text
    return "[hidden random text]" if _looks_random(text, _RANDOM_LENGTH, _RANDOM_BITS) else text


def _looks_random(text: str, length_min: int, bits_min: float) -> bool:
    if len(text) < length_min or text.startswith("[hidden") or text.isdigit():
        return False
    has_digit = any(character.isdigit() for character in text)
    has_letter = any(character.isalpha() for character in text)
    return has_digit and has_letter and _bits(text) >= bits_min


def _bits(text: str) -> float:
    """Shannon entropy in bits a character, of the first 4,096 characters."""
    sample = text[:4096]
    total = len(sample)
    return -sum(count / total * math.log2(count / total) for count in Counter(sample).values())
