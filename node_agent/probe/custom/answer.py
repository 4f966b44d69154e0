"""What a custom check printed, made into findings."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from node_agent.probe.bounded.text import printable
from node_agent.probe.observations import Standing

MAXIMUM_FINDINGS: Final = 64
_GPU_UUID: Final = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9/-]{1,90}", re.ASCII)
_STANDINGS: Final = {"good": Standing.GOOD, "warning": Standing.WARNING, "bad": Standing.BAD}
_WORST_FIRST: Final = (Standing.BAD, Standing.UNKNOWN, Standing.WARNING, Standing.GOOD)


class AnswerInvalid(Exception):
    """The output is not what a check may print; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How something stands according to a check. `gpu_uuid` is empty for the host."""

    standing: Standing
    message: str
    gpu_uuid: str = ""


def parse_answer(output: bytes) -> dict[str, Finding]:
    """Return the findings by GPU UUID. Of several about the same GPU, the worst counts.

    Raises:
        AnswerInvalid: it is not JSON of the form {"status": "good|warning|bad", "message": "...", "gpu_uuid": "..."},
            or a list of at most 64 of these. `message` and `gpu_uuid` may be left out.
    """
    try:
        # Any: what a stranger's program printed; each value is checked below.
        answer: Any = json.loads(output.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        shown = printable(output[:80].decode("utf-8", "replace"))
        raise AnswerInvalid(f"its output is no JSON: {shown!r}" if shown else "it printed nothing") from error
    entries = answer if isinstance(answer, list) else [answer]
    if len(entries) > MAXIMUM_FINDINGS:
        raise AnswerInvalid(f"it printed {len(entries)} findings; {MAXIMUM_FINDINGS} are allowed")
    findings: dict[str, Finding] = {}
    for entry in entries:
        finding = _parse_entry(entry)
        known = findings.get(finding.gpu_uuid)
        if known is None or _WORST_FIRST.index(finding.standing) < _WORST_FIRST.index(known.standing):
            findings[finding.gpu_uuid] = finding
    return findings


def _parse_entry(entry: Any) -> Finding:
    if not isinstance(entry, dict):
        raise AnswerInvalid(f"a finding must be an object, not {printable(repr(entry), 80)}")
    status, message, gpu_uuid = entry.get("status"), entry.get("message", ""), entry.get("gpu_uuid", "")
    standing = _STANDINGS.get(status.lower()) if isinstance(status, str) else None
    if standing is None:
        raise AnswerInvalid(f'status is {printable(repr(status), 80)}; it must be "good", "warning" or "bad"')
    if not isinstance(message, str):
        raise AnswerInvalid(f"message is {printable(repr(message), 80)}; it must be text")
    if gpu_uuid and not (isinstance(gpu_uuid, str) and _GPU_UUID.fullmatch(gpu_uuid)):
        raise AnswerInvalid(f"gpu_uuid is {printable(repr(gpu_uuid), 80)}; it must be as `nvidia-smi -L` prints it")
    return Finding(standing, printable(message), gpu_uuid or "")
