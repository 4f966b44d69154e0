"""What policy files in a request must be."""

from collections.abc import Iterable

from control_plane.governor.policy.model import FILE_BYTES_MAX, FILES_MAX, PolicyFile
from control_plane.services.validate.fields import Fields
from orquanta.v1 import policy_pb2

_NAME_CHARACTERS_MAX = 128


def policy_files(fields: Fields, path: str, files: Iterable[policy_pb2.PolicyFile]) -> tuple[PolicyFile, ...]:
    """Check the size of files; what is in them is for the check of policies."""
    found = []
    for index, file in enumerate(fields.count(path, files, most=FILES_MAX)):
        here = f"{path}[{index}]"
        name = fields.text(f"{here}.name", file.name, most=_NAME_CHARACTERS_MAX, least=1, one_line=True)
        if len(file.text) > FILE_BYTES_MAX:
            fields.wrong(f"{here}.text", f"is larger than {FILE_BYTES_MAX // 1024} KiB; split it", "TEXT_TOO_LONG")
        found.append(PolicyFile(name, file.text))
    return tuple(found)
