"""Questions: what is missing or does not fit together, asked without changing what was read."""

import re
from collections.abc import Iterator

from control_plane.agents.orchestrator.planner.job_facts import Draft, JobFacts
from control_plane.agents.orchestrator.planner.not_done import instead
from control_plane.agents.orchestrator.planner.programs import ask_for_command
from control_plane.agents.orchestrator.planner.shadow import words
from control_plane.agents.orchestrator.planner.stop_all import HOW, stops_all
from control_plane.model.plan import Intent, Question, QuestionReason

_ALL_OF_MINE = re.compile(
    words(
        "all (?:of )?my|all mine|everything i|every one of my|my (?:last|latest|only|current|running|"
        "stuck|failed|old|oldest|newest|most recent)|the last (?:job|run) i|my",
        "todos mis|alle meine|tous mes|tutti i miei|todos os meus",
        "我的|自分の",
    )
)
_ANY_OBJECT = re.compile(
    words(
        "idle|unused|all|every|whole|fleet|cluster|endpoint|deployment|service|inference|pool|"
        "cluster|autoscaler|serving"
    )
)


def ask(draft: Draft, text: str) -> tuple[Question, ...]:
    """Return the questions that a draft leaves open. `text` is the folded goal."""
    return tuple(_questions(draft, text))


def _questions(draft: Draft, text: str) -> Iterator[Question]:
    intent = draft.intent.value
    if intent is Intent.AMBIGUOUS:
        what = "What should be done: train, fine-tune, run a batch, deploy, benchmark, or something else?"
        yield _missing("intent", instead(text) or (f"{what} {HOW}" if stops_all(text) else what))
    if draft.launches:
        for job in draft.jobs:
            yield from _gpu_questions(job, alone=len(draft.jobs) == 1)
        yield from _command_questions(draft)
    if (
        intent is Intent.CANCEL
        and draft.targets.job_ids is None
        and draft.targets.pool is None
        and draft.targets.all_of_mine is None
        and not _ALL_OF_MINE.search(text)
    ):
        which = "Which job should be cancelled? Name its id, such as j-0a1b2c3d4e5f."
        yield _missing("job_ids", f"{which} {HOW}" if stops_all(text) else which)
    if intent is Intent.HEAL and not (
        draft.targets.nodes or draft.targets.job_ids or draft.targets.pool or draft.targets.gpu_index
    ):
        yield _missing("node", "Which node or job is this about?")
    if (
        intent is Intent.SCALE
        and draft.targets.pool is None
        and not draft.jobs[0].gpu.says_something
        and not _ANY_OBJECT.search(text)
    ):
        yield _missing("pool", "Which pool should be scaled, and to how many GPUs?")
    yield from _contradictions(draft)


def _gpu_questions(job: JobFacts, *, alone: bool) -> Iterator[Question]:
    gpu = job.gpu
    if gpu.nodes is not None and gpu.count is None and not gpu.any_idle:
        yield _missing("gpu_count", f"How many GPUs on each of the {gpu.nodes.value} nodes, or in total?")
    elif alone and not gpu.says_something:
        yield _missing("gpu", "How many GPUs, and of which type? For example: 2 H100, or 1 with at least 24 GB.")


def _command_questions(draft: Draft) -> Iterator[Question]:
    for index, job in enumerate(draft.jobs):
        if job.lacks_command and job.program is not None:
            yield _missing(command_field(index), ask_for_command(job.program.value, job.intent.value))


def command_field(index: int) -> str:
    """Return the field of the question how a job, counted from 0, is started."""
    return "command" if index == 0 else f"command_{index + 1}"


def _contradictions(draft: Draft) -> Iterator[Question]:
    for job in draft.jobs:
        for conflict in job.gpu.conflicts:
            yield _conflict("gpu_count", f"{conflict} How many GPUs in total?")
        if job.gpu.type_conflict is not None:
            yield _conflict("gpu_type", f"{job.gpu.type_conflict} Which type should it be?")
        for conflict in job.limits.conflicts:
            yield _conflict("max_hours", f"{conflict} Which one holds?")
    for conflict in draft.budgets.conflicts:
        yield _conflict("budget", f"{conflict} Which one holds?")
    if draft.budgets.unknown_currency:
        yield _missing(
            "budget",
            f"There is no exchange rate for {draft.budgets.unknown_currency}. What is the budget in US dollars?",
        )
    if draft.spot.contradicts:
        yield _conflict("spot", "Spot capacity is both asked for and ruled out. May it be used?")
    wanted, unwanted = draft.places.providers, draft.places.exclude_providers
    if wanted and unwanted and set(wanted.value) & set(unwanted.value):
        yield _conflict(
            "provider",
            f"{', '.join(sorted(set(wanted.value) & set(unwanted.value)))} is both asked for and rule"
            f"d out. Which provider?",
        )


def _missing(field: str, text: str) -> Question:
    return Question(field, text, QuestionReason.MISSING)


def _conflict(field: str, text: str) -> Question:
    return Question(field, text, QuestionReason.CONTRADICTION)
