"""docs/operating.md is read when something burns: every call in it must fit the contract."""

import importlib
import pkgutil
import re
from pathlib import Path

from google.protobuf import descriptor_pool, json_format
from google.protobuf.message_factory import GetMessageClass

import orquanta.v1
from control_plane.services.access import RULES, Port

GUIDE = Path(__file__).parents[3] / "docs" / "operating.md"
CALL = re.compile(r"\borq (\w+Service)/(\w+)(?: '([^']*)')?")

for module in pkgutil.iter_modules(orquanta.v1.__path__):  # the whole contract, whether served or not
    importlib.import_module(f"orquanta.v1.{module.name}")


def test_every_call_in_the_guide_is_in_the_contract_and_its_request_can_be_read() -> None:
    calls = CALL.findall(GUIDE.read_text())
    assert len(calls) > 50
    for service, method, body in calls:
        descriptor = descriptor_pool.Default().FindServiceByName(f"orquanta.v1.{service}").methods_by_name[method]
        json_format.Parse(body or "{}", GetMessageClass(descriptor.input_type)())


def test_every_call_that_people_can_make_is_in_the_guide() -> None:
    shown = {f"/orquanta.v1.{service}/{method}" for service, method, _ in CALL.findall(GUIDE.read_text())}
    not_shown = {path for path, rule in RULES.items() if rule.port is Port.PEOPLE} - shown
    assert not_shown == {"/orquanta.v1.NodeLinkService/Join"}
