"""Words that the fleet knows as names: used where a target stands, never guessed, never taken from other goals."""

import json

import pytest

from control_plane.agents.orchestrator.planner import own_jobs
from control_plane.agents.orchestrator.planner.known_names import Known, KnownJob, names_wanted, with_known_names
from control_plane.model.plan import Intent, Plan
from tests.control_plane.agents.orchestrator.planner.planning import plan
from tests.control_plane.agents.orchestrator.planner.test_goals import goals

TRAIN = KnownJob("j-train00000001", "train", "running", ended=False)
OLD = KnownJob("j-old000000001", "nightly", "failed", ended=True)
TWICE = tuple(KnownJob(f"j-sweep000000{n}", "sweep", "queued", ended=False) for n in (1, 2))
COMMON = ("all", "gpu", "data", "train", "the", "it", "job", "node", "training", "model", "my", "h100", "on")
KNOWN = Known(
    {name: (name,) for name in ("local", "alpha", "beta", "gpu", "data", "train", "all", "node", "both")},
    {
        "train": (TRAIN,),
        "nightly": (OLD,),
        "sweep": TWICE,
        "both": (KnownJob("j-both00000001", "both", "running", ended=False),),
        "all": (KnownJob("j-all000000001", "all", "queued", ended=False),),
    },
)


def known(text: str, answers: dict[str, str] | None = None) -> Plan:
    return with_known_names(plan(text, answers), text, KNOWN)


@pytest.mark.parametrize(
    ("text", "intent", "nodes", "job_ids"),
    [
        ("local keeps throwing Xid 79, sort it out", Intent.HEAL, ("local",), ()),
        ("Bad news. beta keeps throwing Xid 79, sort it out", Intent.HEAL, ("beta",), ()),
        ("fix node alpha", Intent.HEAL, ("alpha",), ()),
        ("Please repair beta.", Intent.HEAL, ("beta",), ()),
        ("restart alpha", Intent.HEAL, ("alpha",), ()),
        ("GPU errors on beta, please fix", Intent.HEAL, ("beta",), ()),
        ("why is beta slow", Intent.QUERY, ("beta",), ()),
        ("is alpha ok?", Intent.QUERY, ("alpha",), ()),
        ("what is wrong with node Beta?", Intent.QUERY, ("beta",), ()),
        ("stop job train", Intent.CANCEL, (), (TRAIN.id,)),
        ("cancel train", Intent.CANCEL, (), (TRAIN.id,)),
        ("stop train", Intent.CANCEL, (), (TRAIN.id,)),
        ('kill "train", please', Intent.CANCEL, (), (TRAIN.id,)),
        ("how is job train doing?", Intent.QUERY, (), (TRAIN.id,)),
        ("why did job nightly fail?", Intent.QUERY, (), (OLD.id,)),
        ("what is node gpu doing?", Intent.QUERY, ("gpu",), ()),
        ("drain local", Intent.HEAL, ("local",), ()),
        ("please cordon node Alpha now", Intent.HEAL, ("alpha",), ()),
        ("drain gpu-a-17 for maintenance", Intent.HEAL, ("gpu-a-17",), ()),
        ("drain alpha and beta", Intent.HEAL, ("alpha", "beta"), ()),
        ("take beta out of service", Intent.HEAL, ("beta",), ()),
        ("uncordon alpha", Intent.HEAL, ("alpha",), ()),
        ("release local", Intent.HEAL, ("local",), ()),
        ("cordon nosuch", Intent.HEAL, ("nosuch",), ()),
    ],
)
def test_a_name_that_the_fleet_knows_is_the_target(
    text: str, intent: Intent, nodes: tuple[str, ...], job_ids: tuple[str, ...]
) -> None:
    made = known(text)
    assert (made.intent, made.targets.nodes, made.targets.job_ids, made.questions) == (intent, nodes, job_ids, ())
    (why,) = [one for one in made.evidence if one.field in ("targets.nodes", "targets.job_ids")]
    assert text[why.start : why.end] == why.text
    assert made.jobs == ()


@pytest.mark.parametrize(
    ("text", "field", "listed"),
    [
        ("cancel sweep", "job_ids", [job.id for job in TWICE]),
        ("stop sweep", "job_ids", [job.id for job in TWICE]),
        ("fix node alpha, and fix node beta", "node", ["node alpha", "node beta"]),
        ("how is both?", "node", ["node both", "j-both00000001"]),
    ],
)
def test_of_several_things_one_is_asked_for_and_none_is_guessed(text: str, field: str, listed: list[str]) -> None:
    made = known(text)
    assert (made.targets.nodes, made.targets.job_ids) == ((), ())
    (question,) = [one for one in made.questions if one.field == field]
    assert all(one in question.text for one in listed)


def test_an_answer_settles_which_one_is_meant() -> None:
    made = known("stop sweep", {"job_ids": TWICE[1].id})
    assert (made.intent, made.targets.job_ids, made.questions) == (Intent.CANCEL, (TWICE[1].id,), ())


@pytest.mark.parametrize(
    "text",
    [
        "cancel all",
        "stop it",
        "cancel nightly",
        "cancel everything",
        "fix the node",
        "GPU 3 keeps failing with ECC errors",
        "train on 2 H100 for 3 hours: `python train.py`",
        "train on data",
        "how many GPUs are idle?",
        "how much data is on the nodes?",
        "delete everybody's data",
        "don't stop train",
        "drain the pool",
        "cordon it",
        "release the memory",
        'the log says "fix node alpha please", why?',
    ],
)
def test_a_common_word_names_nothing_that_was_not_meant(text: str) -> None:
    assert known(text) == plan(text)


def test_no_goal_is_read_otherwise_because_its_common_words_are_names() -> None:
    crowd = Known(
        {name: (name,) for name in COMMON},
        {name: (KnownJob(f"j-{name}", name, "running", ended=False),) for name in COMMON},
    )
    texts = [json.loads(json.dumps(case.values[0]))["text"] for case in goals()]
    changed = [text for text in texts if _read(with_known_names(plan(text), text, crowd)) != _read(plan(text))]
    assert changed == []


def _read(made: Plan) -> tuple[object, ...]:
    """What is done, and to what; which words say so may be told more exactly."""
    return made.intent, made.targets, made.jobs, made.questions, made.constraints


def test_only_words_where_a_target_stands_are_looked_up() -> None:
    text = "local keeps throwing Xid 79, sort it out"
    assert names_wanted(plan(text), text) == ("local",)
    assert names_wanted(plan("train on 2 H100 for 1 hour"), "train on 2 H100 for 1 hour") == ()
    assert names_wanted(plan(text), text + " " * 3000) == ()


@pytest.mark.parametrize("text", ["scale train to 4 GPUs", "scale job train to 4 H100", "grow my train to 4 GPUs"])
def test_a_job_that_is_to_change_its_size_is_known_by_its_name(text: str) -> None:
    assert known(text).targets.job_ids == (TRAIN.id,)


OWN = (TRAIN, KnownJob("j-evals0000001", "evals", "queued", ended=False))


@pytest.mark.parametrize(
    ("text", "live", "job_ids", "asks"),
    [
        ("scale my training to 4 GPUs", OWN, (TRAIN.id,), False),
        ("scale my job to 4 GPUs", OWN, (), True),
        ("scale my job to 4 GPUs", OWN[1:], (OWN[1].id,), False),
        ("grow my running job to 4 GPUs", (), (), False),
    ],
)
def test_my_training_is_the_one_job_of_mine_that_it_can_be(
    text: str, live: tuple[KnownJob, ...], job_ids: tuple[str, ...], asks: bool
) -> None:
    assert own_jobs.is_wanted(plan(text), text)
    made = own_jobs.with_own_job(plan(text), text, live)
    assert (made.targets.job_ids, [one.field for one in made.questions]) == (job_ids, ["job_ids"] if asks else [])
    assert all(job.id in one.text for one in made.questions for job in live)


@pytest.mark.parametrize(
    "text",
    ["scale my training pool to 8 GPUs", "add 4 H100 to the cluster", "train my model on 2 H100", "cancel my job"],
)
def test_a_pool_or_other_work_is_no_job_of_mine_to_resize(text: str) -> None:
    assert not own_jobs.is_wanted(plan(text), text)
