"""Read tools over a real store."""

import json

from sqlalchemy import event

from control_plane.governor import incidents
from control_plane.model.identity import Role
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.tool import ToolCall, ToolStatus
from control_plane.store import nodes
from tests.control_plane.tools.bench import Bench
from tests.control_plane.world import job_id, spec


async def test_how_many_h100_are_idle_is_answered_by_code(bench: Bench) -> None:
    await bench.node("alpha")
    await bench.node("beta", gpu=4, gpu_type="A100")
    ada = await bench.account("ada")
    await bench.world.launch(ada, spec("train", gpu=3))
    node = await bench.world.node("gamma")
    await bench.world.place("train", (node, [0, 1, 2]))
    data = await bench.data("fleet_summary", role=Role.VIEWER, gpu_type="h100")
    (h100,) = data["gpu_types"]
    assert (h100["total"], h100["held"], h100["idle"]) == (16, 3, 13)
    # A host whose daemon is away takes no job: its GPUs are not idle.
    await bench.world.store.write(lambda tx: nodes.update(tx, node.id, connected=False))
    everything = await bench.data("fleet_summary")
    assert (everything["gpus"], everything["gpus_held"], everything["gpus_idle"]) == (20, 3, 12)
    assert everything["stopped"] is False


async def test_a_gpu_that_jobs_share_is_told_apart_from_one_that_is_held_whole(bench: Bench) -> None:
    await bench.node("alpha", gpu=3, shares=True)
    ada = await bench.account("ada")
    await bench.world.launch(ada, spec("a", gpu_milli=250), spec("b", gpu_milli=500), spec("c"))
    node = await bench.world.store.read(lambda tx: nodes.resolve(tx, "alpha"))
    for name, index in (("a", 0), ("b", 0), ("c", 1)):
        await bench.world.place(name, (node, [index]))
    fleet = await bench.data("fleet_summary")
    told = [fleet[key] for key in ("gpus", "gpus_held", "gpus_partly_held", "gpus_used", "gpus_idle")]
    assert told == [3, 2, 1, 1.75, 1]
    shared, whole, idle = (await bench.data("get_node", node="alpha"))["gpus"]
    shares = {one["job_id"]: one["share"] for one in shared["holders"]}
    assert shares == {job_id("a"): 0.25, job_id("b"): 0.5}
    assert (shared["used"], whole["used"], idle["used"]) == (0.75, 1, 0)


async def test_nodes_are_listed_in_pages_and_by_what_is_idle(bench: Bench) -> None:
    ids = {await bench.node(f"host-{number}", gpu=1) for number in range(5)}
    first = await bench.data("list_nodes", limit=2)
    second = await bench.data("list_nodes", limit=2, page=first["next_page"])
    third = await bench.data("list_nodes", limit=2, page=second["next_page"])
    listed = [node["id"] for page in (first, second, third) for node in page["nodes"]]
    assert sorted(listed) == sorted(ids)
    assert third["next_page"] == ""
    idle = await bench.data("list_nodes", idle=True, limit=3)
    rest = await bench.data("list_nodes", idle=True, limit=3, page=idle["next_page"])
    assert {node["id"] for node in (*idle["nodes"], *rest["nodes"])} == ids
    assert (await bench.call("list_nodes", idle=False)).status is ToolStatus.NO_DATA


async def test_a_job_tells_how_each_attempt_went(bench: Bench) -> None:
    await bench.node("alpha")
    node = await bench.world.node("gamma")
    ada = await bench.account("ada")
    await bench.world.launch(ada, spec("train"))
    await bench.world.place("train", (node, [0]))
    await bench.world.report("train", AllocationState.ENDED, ExitReason.EXITED, exit_code=7)
    result = await bench.call("get_job", role=Role.VIEWER, job="train")
    assert result.evidence_id == f"job:{job_id('train')}"
    assert result.untrusted
    assert result.data["job"]["state"] == "failed"
    (attempt,) = result.data["attempts"]
    assert attempt["members"][0]["exit_code"] == 7
    assert attempt["members"][0]["node"] == "gamma"


async def test_a_waiting_job_says_why(bench: Bench) -> None:
    ada = await bench.account("ada")
    await bench.world.launch(ada, spec("train"))
    data = await bench.data("job_placement", job=job_id("train"))
    assert (data["state"], data["attempt"]) == ("queued", None)


async def test_what_does_not_exist_is_an_error_with_its_code(bench: Bench) -> None:
    for name, arguments, code in (
        ("get_node", {"node": "nowhere"}, "NODE_NOT_FOUND"),
        ("get_job", {"job": "nothing"}, "JOB_NOT_FOUND"),
        ("get_job", {"job": "j-000000000000"}, "JOB_NOT_FOUND"),
        ("get_incident", {"incident": "i-000000000000"}, "INCIDENT_NOT_FOUND"),
        ("get_incident", {"incident": "j-000000000000"}, "ID_INVALID"),
        ("list_jobs", {"user": "nobody@example.com"}, "USER_NOT_FOUND"),
        ("list_nodes", {"page": "garbage"}, "PAGE_TOKEN_INVALID"),
        ("job_logs", {"job": "nothing"}, "JOB_NOT_FOUND"),
    ):
        result = await bench.toolbox.call(ToolCall(name, json.dumps(arguments)), await bench.context())
        assert (result.status, result.error_code) == (ToolStatus.ERROR, code), name
        assert result.error


async def test_the_number_of_queries_of_a_list_does_not_grow_with_it(bench: Bench) -> None:
    statements = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal statements
        statements += statement.startswith("SELECT")  # a fresh connection says other things first

    async def used(name: str) -> int:
        nonlocal statements
        statements = 0
        assert (await bench.call(name, limit=50)).status is ToolStatus.OK
        return statements

    ada = await bench.account("ada")

    async def grow(rounds: range) -> None:
        for number in rounds:
            node = await bench.world.node(f"host-{number}", gpu=1)
            goal = await bench.world.goal(ada, f"goal {number}")
            await bench.world.launch(ada, spec(f"job-{number}"), goal=goal)
            await bench.world.place(f"job-{number}", (node, [0]))
            await bench.world.store.write(lambda tx, node=node: incidents.open_incident(tx, node, (), why="a test"))  # type: ignore[misc] # a default binds the loop's value

    event.listen(bench.world.store._engine, "before_cursor_execute", count)
    await grow(range(2))
    names = ("list_nodes", "list_jobs", "list_goals", "list_incidents")
    few = {name: await used(name) for name in names}
    await grow(range(2, 9))
    many = {name: await used(name) for name in names}
    assert all(many[name] <= few[name] for name in names), (few, many)
