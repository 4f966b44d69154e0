"""Goals put together from parts, in seven languages: each part must be read, in whatever order it comes."""

import random
from datetime import timedelta
from typing import Any  # the tables hold strings, pairs and maps

import pytest

from control_plane.model.plan import SpotPreference
from tests.control_plane.agents.orchestrator.planner.planning import NOW, plan

GOALS_A_LANGUAGE = 20
RATES = {"eur": 1.1, "€": 1.1, "欧元": 1.1, "ユーロ": 1.1, "美元": 1.0, "元": 0.14, "円": 0.0065}
ENGLISH = {
    "verbs": [
        ("train", "Train the model"),
        ("finetune", "Fine-tune llama-3-8b"),
        ("inference", "Deploy mistral-7b"),
        ("batch", "Transcribe our calls"),
        ("benchmark", "Benchmark our 13B"),
        ("train", "Please kick off training of resnet-50"),
    ],
    "counts": [
        "{n} {g}",
        "{n}x {g}",
        "{n}x{g}",
        "{w} {g}s",
        "{n} {g} GPUs",
        "{g} x{n}",
        "{n} GPUs ({g})",
        "{n} GPUs of type {g}",
        "{g}: {n}",
        "{n}\u00d7{g}",
        "{w} {g} cards",
    ],
    "on": ["on", "with", "using"],
    "limits": [
        "for {h} hours",
        "max {h} hours",
        "at most {h}h",
        "no longer than {h} hours",
        "time limit {h}h",
        "{h}h max",
        "capped at {h} hours",
        "for at most {h} hrs",
    ],
    "budgets": [
        "budget ${b}",
        "at most {b} euros",
        "under {b} dollars",
        "max USD {b}",
        "<= ${b}",
        "cost cap ${b}",
        "don't spend more than ${b}",
        "keep it under \u20ac{b}",
    ],
    "deadlines": [
        ("by Friday 9am", 96),
        ("by tomorrow noon", 27),
        ("before Thursday 18:00", 81),
        ("within 60 hours", 60),
        ("deadline Wednesday 12:00", 51),
        ("must be done by 5pm on Friday", 104),
        ("due 2026-11-28 09:00", 120),
    ],
    "spots": [
        ("spot ok", True),
        ("no spot", False),
        ("on-demand only", False),
        ("use spot instances", True),
        ("not preemptible", False),
    ],
    "numbers": {1: "one", 2: "two", 4: "four", 8: "eight"},
}
LANGUAGES: dict[str, dict[str, Any]] = {"en": ENGLISH} | {
    "es": {
        "verbs": [
            ("train", "Entrena el modelo"),
            ("finetune", "Afina llama-3-8b"),
            ("inference", "Despliega el modelo"),
            ("batch", "Transcribe el audio"),
            ("benchmark", "Evalúa el modelo"),
        ],
        "counts": ["{w} {g}", "{n} {g}", "{n} GPUs {g}", "{n}x {g}", "{w} tarjetas {g}"],
        "on": ["en", "con"],
        "limits": [
            "durante {h} horas",
            "máximo {h} horas",
            "hasta {h} horas",
            "no más de {h} horas",
            "durante {h}h como máximo",
            "límite de {h} horas",
        ],
        "budgets": [
            "presupuesto de {b} euros",
            "máximo {b} €",
            "por menos de {b} dólares",
            "hasta {b} euros",
            "como mucho {b} USD",
        ],
        "deadlines": [
            ("antes del viernes a las 9", 96),
            ("hasta mañana a las 12", 27),
            ("para el viernes a las 9:00", 96),
        ],
        "spots": [("sin spot", False), ("spot permitido", True), ("nada de instancias spot", False)],
        "numbers": {2: "dos", 4: "cuatro", 8: "ocho", 1: "una"},
    },
    "de": {
        "verbs": [
            ("train", "Trainiere das Modell"),
            ("finetune", "Fine-Tuning von llama-3-8b"),
            ("inference", "Deploye das Modell"),
            ("batch", "Transkribiere die Anrufe"),
            ("benchmark", "Benchmarke das Modell"),
        ],
        "counts": ["{w} {g}", "{n} {g}", "{n}x {g}", "{n} {g}-GPUs", "{w} {g} Karten"],
        "on": ["auf", "mit"],
        "limits": [
            "für {h} Stunden",
            "höchstens {h} Stunden",
            "maximal {h} h",
            "{h} Stunden lang",
            "nicht länger als {h} Stunden",
            "Zeitlimit {h} Std",
        ],
        "budgets": [
            "Budget {b} Euro",
            "höchstens {b} €",
            "für maximal {b} Dollar",
            "unter {b} Euro",
            "nicht mehr als {b} USD",
        ],
        "deadlines": [
            ("bis Freitag 9 Uhr", 96),
            ("bis morgen 12 Uhr", 27),
            ("spätestens Freitag um 9:00", 96),
            ("vor Freitag 9 Uhr", 96),
        ],
        "spots": [("keine Spot-Instanzen", False), ("Spot ist ok", True), ("ohne Spot", False)],
        "numbers": {2: "zwei", 4: "vier", 8: "acht", 1: "eine"},
    },
    "fr": {
        "verbs": [
            ("train", "Entraîne le modèle"),
            ("finetune", "Affine llama-3-8b"),
            ("inference", "Déploie le modèle"),
            ("batch", "Transcris les appels"),
            ("benchmark", "Évalue le modèle"),
        ],
        "counts": ["{w} {g}", "{n} {g}", "{n} GPU {g}", "{n}x {g}", "{w} cartes {g}"],
        "on": ["sur", "avec"],
        "limits": [
            "pendant {h} heures",
            "{h} heures maximum",
            "au plus {h} heures",
            "pas plus de {h} h",
            "durant {h} heures",
        ],
        "budgets": [
            "budget {b} euros",
            "moins de {b} €",
            "au maximum {b} dollars",
            "pas plus de {b} €",
            "plafond {b} USD",
        ],
        "deadlines": [("avant vendredi 9h", 96), ("avant demain midi", 27), ("d'ici vendredi à 9h", 96)],
        "spots": [("pas de spot", False), ("sans spot", False), ("spot autorisé", True)],
        "numbers": {2: "deux", 4: "quatre", 8: "huit", 1: "une"},
    },
    "it": {
        "verbs": [
            ("train", "Addestra il modello"),
            ("finetune", "Affina llama-3-8b"),
            ("inference", "Distribuisci il modello"),
            ("batch", "Trascrivi le chiamate"),
            ("benchmark", "Valuta il modello"),
        ],
        "counts": ["{w} {g}", "{n} {g}", "{n} GPU {g}", "{n}x {g}", "{w} schede {g}"],
        "on": ["su", "con"],
        "limits": ["per {h} ore", "massimo {h} ore", "al massimo {h} ore", "non più di {h} ore", "fino a {h} ore"],
        "budgets": ["budget di {b} euro", "massimo {b} €", "meno di {b} dollari", "al massimo {b} euro"],
        "deadlines": [
            ("entro venerdì alle 9", 96),
            ("prima di venerdì alle 9", 96),
            ("entro domani a mezzogiorno", 27),
        ],
        "spots": [("senza spot", False), ("niente spot", False), ("spot va bene", True)],
        "numbers": {2: "due", 4: "quattro", 8: "otto", 1: "una"},
    },
    "pt": {
        "verbs": [
            ("train", "Treine o modelo"),
            ("finetune", "Faça o fine-tuning do llama-3-8b"),
            ("inference", "Implante o modelo"),
            ("batch", "Transcreva as chamadas"),
            ("benchmark", "Avalie o modelo"),
        ],
        "counts": ["{w} {g}", "{n} {g}", "{n} GPUs {g}", "{n}x {g}", "{w} placas {g}"],
        "on": ["em", "com"],
        "limits": ["por {h} horas", "no máximo {h} horas", "durante {h} horas", "até {h} horas", "limite de {h} horas"],
        "budgets": ["orçamento de {b} euros", "no máximo {b} dólares", "menos de {b} €", "até {b} euros"],
        "deadlines": [("até sexta às 9h", 96), ("até sexta-feira às 9h", 96), ("até amanhã ao meio-dia", 27)],
        "spots": [("sem spot", False), ("spot permitido", True)],
        "numbers": {2: "duas", 4: "quatro", 8: "oito", 1: "uma"},
    },
    "zh": {
        "verbs": [
            ("train", "训练模型"),
            ("finetune", "微调qwen2-7b"),
            ("inference", "部署模型"),
            ("batch", "转录音频"),
            ("benchmark", "评测模型"),
        ],
        "counts": ["用{n}张{g}", "用{w}张{g}", "使用{n}块{g}", "用{g} {n}张", "用{n}卡{g}"],
        "on": [", "],
        "limits": ["最多{h}小时", "运行{h}小时", "不超过{h}小时", "时限{h}小时", "{h}小时以内封顶"],
        "budgets": ["预算{b}美元", "不超过{b}元", "最多花{b}欧元", "预算上限{b}美元"],
        "deadlines": [("周五上午9点之前完成", 96), ("明天中午12点前完成", 27), ("周五9点前", 96)],
        "spots": [("不要用竞价实例", False), ("可以用竞价实例", True), ("不用抢占式实例", False)],
        "numbers": {2: "两", 4: "四", 8: "八", 1: "一"},
    },
    "ja": {
        "verbs": [
            ("train", "モデルを学習して"),
            ("finetune", "llama-3-8bをファインチューニングして"),
            ("inference", "モデルをデプロイして"),
            ("batch", "音声を文字起こしして"),
            ("benchmark", "モデルを評価して"),
        ],
        "counts": ["{g}を{n}枚使って", "{n}枚の{g}で", "{g} {n}枚で", "{g}x{n}で"],
        "on": ["、"],
        "limits": ["最大{h}時間", "{h}時間まで", "上限{h}時間", "{h}時間実行"],
        "budgets": ["予算{b}ドル", "予算は{b}ユーロまで", "最大{b}ドル", "{b}円以内"],
        "deadlines": [("金曜日の午前9時までに", 96), ("明日の12時までに", 27), ("金曜9時まで", 96)],
        "spots": [("スポットは使わないで", False), ("スポット可", True), ("スポット不可", False)],
        "numbers": {2: "二", 4: "四", 8: "八", 1: "一"},
    },
}


@pytest.mark.parametrize("seed", range(GOALS_A_LANGUAGE))
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_part_of_a_goal_is_read_in_any_order(language: str, seed: int) -> None:
    words, chance = LANGUAGES[language], random.Random(seed)
    intent, verb = chance.choice(words["verbs"])
    gpu, count = chance.choice(["H100", "A100", "L4", "T4", "V100", "L40S"]), chance.choice([1, 2, 4, 8])
    hours, dollars = chance.choice([2, 5, 10, 24]), chance.choice([70_000, 90_000])
    limit, budget = chance.choice(words["limits"]).format(h=hours), chance.choice(words["budgets"]).format(b=dollars)
    deadline, until = chance.choice(words["deadlines"])
    spot, allowed = chance.choice(words["spots"])
    parts = [part for part in (limit, budget, deadline, spot) if chance.random() < 0.7]
    chance.shuffle(parts)
    counted = chance.choice(words["counts"]).format(n=count, w=words["numbers"][count], g=gpu)
    text = (
        "\u3001".join([counted + verb, *parts])
        if language in ("zh", "ja")
        else ", ".join([f"{verb} {chance.choice(words['on'])} {counted}", *parts])
    )

    made = plan(text)

    rate = next((value for name, value in RATES.items() if name in budget.lower()), 1.0)
    cap, spoken = made.constraints.budget, made.constraints.spot
    assert [job.intent.value for job in made.jobs] == [intent], text
    assert (made.jobs[0].gpu.gpu_type, made.jobs[0].gpu.count) == (gpu, count), text
    assert made.jobs[0].max_seconds == (hours * 3600 if limit in parts else None), text
    assert (round(cap.amount_usd) if cap else None) == (round(dollars * rate) if budget in parts else None), text
    assert made.constraints.deadline_at == (NOW + timedelta(hours=until) if deadline in parts else None), text
    assert (None if spoken is None else spoken is not SpotPreference.FORBID) == (allowed if spot in parts else None), (
        text
    )


STAGES = [
    ("batch", "preprocess the data"),
    ("train", "pretrain the base model"),
    ("finetune", "fine-tune it"),
    ("benchmark", "evaluate the checkpoint"),
    ("inference", "deploy it"),
]
BETWEEN = [
    "; then ",
    ". Then ",
    ", then ",
    " -> ",
    "\n- ",
    " and after that ",
    " followed by ",
    ". After that, ",
    ", and then ",
    " | ",
    "; ",
]


@pytest.mark.parametrize("seed", range(GOALS_A_LANGUAGE))
@pytest.mark.parametrize("between", BETWEEN)
def test_a_chain_becomes_one_job_a_stage_each_waiting_for_the_one_before(between: str, seed: int) -> None:
    chance = random.Random(seed)
    stages = [STAGES[at] for at in sorted(chance.sample(range(len(STAGES)), chance.choice([2, 3, 4])))]
    counts = [chance.choice([1, 2, 4, 8]) for _ in stages]
    text = between.join(f"{verb} on {count} A100" for (_, verb), count in zip(stages, counts, strict=True))

    made = plan(text)

    assert [(job.intent.value, job.gpu.count) for job in made.jobs] == [
        (stage[0], n) for stage, n in zip(stages, counts, strict=True)
    ], text
    names = [job.name for job in made.jobs]
    assert [job.depends_on for job in made.jobs] == [(), *((name,) for name in names[:-1])], text
