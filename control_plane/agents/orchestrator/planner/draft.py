"""A draft: all facts of a goal, per job and for the whole, before they become a plan."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from decimal import Decimal

from control_plane.agents.orchestrator.planner.budget import Budgets, read_budgets
from control_plane.agents.orchestrator.planner.clauses import Clause, split_jobs
from control_plane.agents.orchestrator.planner.comparisons import split_comparison
from control_plane.agents.orchestrator.planner.facts import Fact
from control_plane.agents.orchestrator.planner.gpu_request import GpuFacts, read_gpus
from control_plane.agents.orchestrator.planner.intent import IntentReading, read_intent
from control_plane.agents.orchestrator.planner.intent_words import HYPOTHETICAL
from control_plane.agents.orchestrator.planner.job_facts import Draft, JobFacts, Places, TargetFacts
from control_plane.agents.orchestrator.planner.literals import Literal
from control_plane.agents.orchestrator.planner.not_done import instead
from control_plane.agents.orchestrator.planner.places import ON_PREM, Region, region_code
from control_plane.agents.orchestrator.planner.preferences import (
    excluded_marks,
    no_cloud,
    read_plan_only,
    read_priority,
)
from control_plane.agents.orchestrator.planner.programs import read_program
from control_plane.agents.orchestrator.planner.resize import resized
from control_plane.agents.orchestrator.planner.shadow import Kind, Shadow, mark, words
from control_plane.agents.orchestrator.planner.spot import SpotReading, read_spot
from control_plane.agents.orchestrator.planner.targets import (
    read_all_of_mine,
    read_gpu_index,
    read_jobs,
    read_nodes,
    read_pool,
    read_team,
)
from control_plane.agents.orchestrator.planner.timing import Limits, Window, read_limits, read_window
from control_plane.model.plan import LAUNCH_INTENTS, Intent

_RUN_SOMETHING = re.compile(
    words(
        "run|runs|running|launch|start|need|needs|want|get|give|book|reserve|allocate|request|use|"
        "using|kick off|submit|schedule|queue|corre|ejecuta|necesito|quiero|dame|lanza|starte|"
        "brauche|benotige|mochte|will|lance|besoin|veux|esegui|lancia|voglio|serve|rode|execute|"
        "preciso|quero",
        "运行|跑|需要|启动|申请|要|用|実行|走らせ|起動|使って|必要|動かし|ください",
    )
)
_ITEMS = re.compile(
    mark(Kind.NUMBER)
    + r" ?(?:million |m |k |new |raw |short |long )?(?:images?|pictures|photos|files|documents|docs|rows|"
    r"records|prompts|"
    r"sequences|molecules|clips|videos|frames|sentences|pages|pdfs|articles|transcripts|recordings|tiles|scenes|"
    r"imagenes|documentos|bilder|dokumente|fichiers|immagini|imagens|arquivos)(?![a-z])|"
    + mark(Kind.DURATION)
    + r" (?:worth )?of (?:\w+ ){0,2}?(?:audio|video|speech|recordings?|podcasts?|calls|footage|"
    r"lectures|meetings|interviews)(?![a-z])|" + mark(Kind.NUMBER) + "(?:张图|篇|份文档|个文件|枚の画像|件の|本の動画)"
)
_RESIDENCY = re.compile(
    words(
        "data|datos|daten|donnees|dati|dados|gdpr|dsgvo|rgpd|residency|sovereign\\w*|compliance|"
        "must (?:stay|remain|not leave)|stays?|remain|leave|leaves",
        "数据|データ|合规",
    )
)
_CONDITION = re.compile(
    r"(?<![a-z])(?P<lead>(?:but )?only if|provided(?: that)?|if|as long as|nur wenn|falls|solo si|"
    r"solo se|seulement si) (?P<what>[^,;:.\n]{3,100})|如果(?P<zh>[^,.;]{2,60})|"
    r"(?P<ja>[^,.]{2,40})(?:場合|なら)"
)
_NOT_A_CONDITION = re.compile(
    r"(?:it(?:'s| is) )?(?:possible|available|idle|free|needed|necessary|you (?:can|need|have|must|"
    r"like)|that(?:'s| is)|so(?![a-z])|there(?:'s| is| are)|spot|not|nothing|any|i |we |cheaper|"
    r"preempted|interrupted|evicted)"
)
_SAME_GPUS = re.compile(
    words(
        "same (?:gpus?|nodes?|type|machines?|hardware|cards?|box(?:es)?)|those gpus|the same|"
        "mismas? gpus?|gleichen? gpus?|memes gpus?|stesse gpu|mesmas gpus",
        "同样的?(?:卡|gpu|机器)|同じgpu",
    )
)


def draft_goal(
    shadow: Shadow, now: datetime, default: tzinfo, fx_usd: Mapping[str, Decimal], answered_intent: Fact[Intent] | None
) -> Draft:
    """Collect the facts of a goal. `answered_intent` replaces what the words say about the intent."""
    whole = read_intent(shadow)
    clauses = (
        split_jobs(shadow)
        if _may_launch(whole.intent, answered_intent)
        else [Clause(0, len(shadow.text), whole.request)]
    )
    jobs = tuple(_job(shadow, clause) for clause in clauses)
    main = _main(jobs)
    intent = answered_intent or _intent_fact(shadow, whole, jobs[main], len(jobs))
    if answered_intent is None and instead(shadow.text) is not None:
        intent = Fact(Intent.AMBIGUOUS, ())
    if len(jobs) == 1:
        jobs = (replace(jobs[0], intent=intent.value),)
        jobs = split_comparison(shadow, jobs[0])
    if intent.value is Intent.SCALE:
        jobs = tuple(replace(job, gpu=resized(shadow, job.gpu)) for job in jobs)
    jobs = _shared(jobs, shadow)
    return _reduced(
        Draft(
            intent=intent,
            jobs=jobs,
            window=read_window(shadow, now, default),
            budgets=read_budgets(
                shadow,
                fx_usd,
                strong_only=intent.value not in LAUNCH_INTENTS and intent.value is not Intent.AMBIGUOUS,
                job_starts=tuple(clause.start for clause in clauses),
            ),
            spot=_spot(shadow, clauses, main),
            priority=read_priority(shadow),
            places=_places(shadow),
            targets=_targets(shadow),
            plan_only=read_plan_only(shadow),
        ),
        hypothetical=bool(HYPOTHETICAL.search(shadow.text)) or intent.value is Intent.COST,
    )


def _may_launch(intent: Intent | None, answered: Fact[Intent] | None) -> bool:
    return (answered.value if answered else intent) in (*LAUNCH_INTENTS, None)


def _intent_fact(shadow: Shadow, whole: IntentReading, main: JobFacts, count: int) -> Fact[Intent]:
    """Return the goal's intent; GPUs or a command without a word for the work mean a plain run, which is training."""
    if whole.intent is not None:
        if count > 1 and whole.intent in LAUNCH_INTENTS:
            return Fact(main.intent, whole.spans)
        return Fact(whole.intent, whole.spans)
    items = _ITEMS.search(shadow.text)
    if items:
        return Fact(Intent.BATCH, (shadow.span(*items.span()),))
    run = _RUN_SOMETHING.search(shadow.text)
    if main.command is not None or main.image is not None:
        source = main.command or main.image
        return Fact(Intent.TRAIN, source.spans if source else ())
    if main.gpu.count is not None and (run or main.gpu.gpu_type is not None):
        return Fact(Intent.TRAIN, main.gpu.count.spans)
    return Fact(Intent.AMBIGUOUS, ())


def _job(shadow: Shadow, clause: Clause) -> JobFacts:
    part = shadow.cut(clause.start, clause.end)
    reading = read_intent(part)
    intent = reading.intent if reading.intent in LAUNCH_INTENTS else clause.request.intent if clause.request else None
    request = reading.request if reading.intent in LAUNCH_INTENTS else clause.request
    return JobFacts(
        intent=intent or Intent.TRAIN,
        word=request.word if request else "",
        gpu=read_gpus(part, excluded_marks(part)),
        limits=read_limits(part),
        image=_literal(part, Kind.IMAGE),
        command=_literal(part, Kind.CODE),
        condition=_condition(part),
        depends_on=clause.depends_on,
        program=read_program(part, kind_known=reading.intent is not None or clause.request is not None),
    )


def _literal(part: Shadow, kind: Kind) -> Fact[str] | None:
    for _, literal in part.marks(kind):
        if isinstance(literal, Literal) and (kind is Kind.IMAGE or literal.is_command) and literal.text.strip():
            return Fact(literal.text, ((literal.start, literal.end),))
    return None


def _condition(part: Shadow) -> Fact[str] | None:
    for match in _CONDITION.finditer(part.text):
        group = next(name for name in ("what", "zh", "ja") if match.group(name))
        start, end = match.span(group)
        if _NOT_A_CONDITION.match(part.text, start):
            continue
        return Fact(part.words(start, end), (part.span(start, end),))
    return None


def _main(jobs: tuple[JobFacts, ...]) -> int:
    """Return which job a chain is about: training if there is some, of these the one with most GPUs."""

    def weight(index: int) -> tuple[bool, int, int]:
        job = jobs[index]
        trains = job.intent in (Intent.TRAIN, Intent.FINETUNE)
        return trains, job.gpu.count.value if job.gpu.count else 0, -index

    return max(range(len(jobs)), key=weight)


def _shared(jobs: tuple[JobFacts, ...], shadow: Shadow) -> tuple[JobFacts, ...]:
    """Give "each step at most 2 h" and "on the same GPUs" to the jobs that they speak of."""
    if len(jobs) == 1:
        return jobs
    each = next((job.limits for job in jobs if job.limits.for_each), None)
    if each is not None:
        jobs = tuple(job if job.limits.max_seconds else replace(job, limits=each) for job in jobs)
    if _SAME_GPUS.search(shadow.text):
        first = next((job.gpu for job in jobs if job.gpu.says_something), None)
        if first is not None:
            jobs = tuple(job if job.gpu.says_something else replace(job, gpu=first) for job in jobs)
    return jobs


def _spot(shadow: Shadow, clauses: list[Clause], main: int) -> SpotReading:
    """Read the spot preference; where the jobs of a chain differ, that of the main one."""
    whole = read_spot(shadow)
    if not whole.contradicts or len(clauses) == 1:
        return whole
    clause = clauses[main]
    return read_spot(shadow.cut(clause.start, clause.end))


def _places(shadow: Shadow) -> Places:
    negated = excluded_marks(shadow)
    offline = no_cloud(shadow)
    named = _grouped([(value, at) for at, value in shadow.marks(Kind.PROVIDER) if at not in negated], shadow)
    if named is None and offline is not None:
        named = Fact((ON_PREM,), offline.spans)
    providers = named.value if named else ()
    regions: list[tuple[str, int]] = []
    residency: Fact[str] | None = None
    for at, region in shadow.marks(Kind.REGION):
        if at in negated:
            continue
        if isinstance(region, Region) and region.is_place and _RESIDENCY.search(shadow.text[max(0, at - 40) : at]):
            residency = residency or Fact(region.code, (shadow.span(at, at + 1),))
        else:
            regions.append((region_code(region, providers), at))
    return Places(
        providers=named,
        exclude_providers=_grouped([(value, at) for at, value in shadow.marks(Kind.PROVIDER) if at in negated], shadow),
        regions=_grouped(regions, shadow),
        exclude_regions=_grouped(
            [(value.code, at) for at, value in shadow.marks(Kind.REGION) if at in negated], shadow
        ),
        data_residency=residency,
    )


def _grouped(found: list[tuple[str, int]], shadow: Shadow) -> Fact[tuple[str, ...]] | None:
    if not found:
        return None
    return Fact(tuple(dict.fromkeys(value for value, _ in found)), tuple(shadow.span(at, at + 1) for _, at in found))


def _targets(shadow: Shadow) -> TargetFacts:
    nodes = read_nodes(shadow)
    return TargetFacts(
        read_jobs(shadow, nodes),
        nodes,
        read_gpu_index(shadow),
        read_team(shadow),
        read_pool(shadow),
        read_all_of_mine(shadow),
    )


def _without(named: Fact[tuple[str, ...]] | None, commands: list[Fact[str]]) -> Fact[tuple[str, ...]] | None:
    """Leave out what was taken for a job's name behind "run" and is the command to run."""
    if named is None:
        return None
    taken = {span for command in commands for span in command.spans}
    kept = [(name, span) for name, span in zip(named.value, named.spans, strict=True) if span not in taken]
    return Fact(tuple(name for name, _ in kept), tuple(span for _, span in kept)) if kept else None


def _reduced(draft: Draft, *, hypothetical: bool) -> Draft:
    """Leave out what only describes existing things in a goal that does not ask for GPUs."""
    intent = draft.intent.value
    if intent is not Intent.CANCEL:
        draft = replace(draft, targets=replace(draft.targets, all_of_mine=None))
    if draft.launches or intent is Intent.AMBIGUOUS:
        jobs = _without(draft.targets.job_ids, [job.command for job in draft.jobs if job.command is not None])
        return replace(draft, targets=replace(draft.targets, nodes=None, gpu_index=None, job_ids=jobs))
    job = replace(draft.jobs[0], command=None, image=None)
    asks_for_gpus = intent in (Intent.SCALE, Intent.COST) or (intent is Intent.QUERY and hypothetical)
    if not asks_for_gpus:
        kind = GpuFacts() if intent is Intent.CANCEL else GpuFacts(gpu_type=job.gpu.gpu_type)
        job = replace(job, gpu=kind, limits=Limits())
    if intent is not Intent.SCALE:
        draft = replace(draft, window=Window())
    if intent not in (Intent.SCALE, Intent.COST):
        draft = replace(draft, spot=SpotReading(None))
    if intent in (Intent.QUERY, Intent.COST):
        draft = replace(draft, priority=None)
    if intent in (Intent.CANCEL, Intent.HEAL):
        draft = replace(draft, budgets=Budgets())
    return replace(draft, jobs=(job,))
