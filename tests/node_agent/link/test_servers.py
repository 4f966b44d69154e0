"""Which control plane a host calls."""

import random
from collections import Counter

from node_agent.link.servers import LinkServers, addresses

THREE = ("one:1", "two:2", "three:3")


def servers(node_id: str = "n-1", known: tuple[str, ...] = THREE) -> LinkServers:
    return LinkServers(node_id, known, random.Random(1))


def test_hosts_spread_over_all_servers_in_an_order_that_lasts() -> None:
    preferred = Counter(servers(f"n-{number}").current for number in range(600))
    assert set(preferred) == set(THREE)
    assert min(preferred.values()) > 150
    assert all(servers(f"n-{i}").known == servers(f"n-{i}", THREE[::-1]).known for i in range(20))


def test_hosts_of_a_lost_server_spread_over_the_others_and_nobody_else_moves() -> None:
    moved = Counter[str]()
    for number in range(300):
        before, after = servers(f"n-{number}"), servers(f"n-{number}", THREE[:2])
        if before.current == "three:3":
            moved[after.current] += 1
        else:
            assert after.current == before.current
    assert set(moved) == set(THREE[:2])


def test_every_other_server_is_tried_at_once_before_pauses_grow() -> None:
    here = servers()
    tried = [here.current]
    pauses = [here.ended(welcomed=True, lived_seconds=60, stay=False)]
    for _ in range(4):
        tried.append(here.current)
        pauses.append(here.ended(welcomed=False, lived_seconds=0, stay=False))
    assert set(tried[:3]) == set(THREE)
    assert tried[3:] == tried[:2]
    assert max(pauses[:2]) <= 0.25
    assert pauses[4] > pauses[2]


def test_a_server_that_wants_the_host_again_is_called_again() -> None:
    here = servers()
    first = here.current
    here.ended(welcomed=True, lived_seconds=1, stay=True)
    assert here.current == first


def test_who_followed_a_lost_server_comes_back_in_time() -> None:
    here = servers()
    first = here.current
    here.ended(welcomed=True, lived_seconds=1, stay=False)
    assert here.current != first
    here.start_over()
    assert here.current == first


def test_addresses_that_are_told_are_added_and_the_one_in_use_stays_in_use() -> None:
    here = servers(known=("one:1",))
    assert here.learn(("one:1", "two:2"))
    assert here.current == "one:1"
    assert set(here.known) == {"one:1", "two:2"}
    assert not here.learn(("two:2",))
    assert not here.learn(())


def test_what_is_told_and_is_no_address_is_left_out() -> None:
    assert addresses(["a:1", "nonsense", "\x1b[0m:x", "[::1]:2", "b:70000"]) == ("a:1", "[::1]:2")
    assert len(addresses(f"h{number}:1" for number in range(1_000))) == 16


def test_a_single_server_is_called_again_with_growing_pauses() -> None:
    here = servers(known=("one:1",))
    pauses = [here.ended(welcomed=False, lived_seconds=0, stay=False) for _ in range(8)]
    assert here.current == "one:1"
    assert pauses[7] > pauses[0] * 4
