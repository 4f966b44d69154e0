"""Small clusters and tasks, drawn by hypothesis."""

from hypothesis import strategies as st

from control_plane.fleet.placement.packing.model import Demand, Node, Task

MODELS = ("A", "B", "")


@st.composite
def nodes(draw: st.DrawFn) -> list[Node]:
    shapes = draw(
        st.lists(
            st.tuples(st.integers(0, 8), st.integers(0, 64), st.integers(0, 64), st.sampled_from(MODELS)),
            min_size=1,
            max_size=6,
        )
    )
    return [
        Node(f"n{number}", cores * 1_000, memory * 1_024, gpus, model)
        for number, (gpus, cores, memory, model) in enumerate(shapes)
    ]


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    count = draw(st.sampled_from((0, 1, 1, 1, 2, 4, 8)))
    share = draw(st.sampled_from((5, 50, 160, 220, 333, 470, 500, 650, 810, 1_000))) if count == 1 else 1_000
    models = draw(st.sampled_from((frozenset[str](), frozenset({"A"}), frozenset({"A", "B"}))))
    cpu_milli = draw(st.sampled_from((0, 500, 1_000, 4_000, 12_500)))
    return Task(Demand(cpu_milli, count, share if count else 0), draw(st.sampled_from((0, 1_024, 8_192))), models)


def task_lists(most: int = 40) -> st.SearchStrategy[list[Task]]:
    return st.lists(tasks(), min_size=1, max_size=most)
