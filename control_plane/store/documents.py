"""Nested values as JSON columns: typed on the way in and validated on the way out."""

from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from control_plane.model.health import Condition
from control_plane.model.job import JobSpec, ResourceRequest
from control_plane.model.node import HostInventory
from control_plane.model.plan import Plan
from control_plane.model.repair import RepairStep, VerificationCheck
from control_plane.store.readable import Unreadable, from_json

T = TypeVar("T")

_INVENTORIES_MAX: Final = 1024
_INVENTORY_CHARACTERS_MAX: Final = 16 << 10
"""Inventories that are remembered, of a storm's hosts, and the longest of them; one of 8 GPUs has 3,000."""


class Document(Generic[T]):
    """Converts one type to and from the JSON that a column holds. `what` says for a person what it is."""

    def __init__(self, adapter: TypeAdapter[T], what: str = "") -> None:
        self._adapter = adapter
        self._what = what

    def dump(self, value: T) -> dict[str, Any]:  # Any: nested JSON
        """Return the value as JSON-compatible data."""
        data: dict[str, Any] = self._adapter.dump_python(value, mode="json")  # Any: nested JSON
        return data

    def load(self, data: dict[str, Any]) -> T:  # Any: nested JSON
        """Return the value. Raises Unreadable if the column does not hold one."""
        try:
            return self._adapter.validate_python(data)
        except ValidationError as error:
            # What it holds may be a secret of somebody's, so only where it is wrong is told.
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise Unreadable(self._what or error.title, f"{place}: {first['msg']}") from None

    def load_text(self, text: str) -> T:
        """Return the value of a column that was not read yet. Raises Unreadable if it does not hold one."""
        try:
            return self._adapter.validate_json(text)
        except ValidationError:
            said: Any = from_json(text)  # Any: nested JSON
            return self.load(said)  # which tells why it cannot be read


RESOURCES = Document(TypeAdapter(ResourceRequest), "what the job asks for")
JOB_SPEC = Document(TypeAdapter(JobSpec), "the job's specification")
HOST_INVENTORY = Document(TypeAdapter(HostInventory), "what the host is made of")
PLAN = Document(TypeAdapter(Plan), "the goal's plan")
CONDITION = Document(TypeAdapter(Condition), "the condition")
REPAIR_STEP = Document(TypeAdapter(RepairStep), "a step of the repair")
VERIFICATION_CHECK = Document(TypeAdapter(VerificationCheck), "a check of the repair")


def host_inventory(source: dict[str, Any] | str) -> HostInventory:  # Any: nested JSON
    """Return what a host is made of; what was read of late is not read again. Raises Unreadable."""
    if not isinstance(source, str):
        return HOST_INVENTORY.load(source)
    return _inventory_of(source) if len(source) <= _INVENTORY_CHARACTERS_MAX else HOST_INVENTORY.load_text(source)


@lru_cache(maxsize=_INVENTORIES_MAX)
def _inventory_of(text: str) -> HostInventory:
    return HOST_INVENTORY.load_text(text)
