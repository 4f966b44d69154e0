import json

import pytest

from control_plane.store.documents import HOST_INVENTORY, host_inventory
from control_plane.store.readable import Unreadable
from tests.control_plane.world import gpus, inventory


def test_what_a_host_is_made_of_is_the_same_read_from_text_and_from_json() -> None:
    made = inventory("alpha", gpus("alpha", 2))
    document = HOST_INVENTORY.dump(made)
    assert host_inventory(document) == host_inventory(json.dumps(document)) == made


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"hostname": 3}', '{"hostname": "\\ud800"}'])
def test_a_text_that_holds_no_host_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match="what the host is made of"):
        host_inventory(text)
