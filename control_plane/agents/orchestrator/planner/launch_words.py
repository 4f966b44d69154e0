"""Verbs that ask for work on GPUs, in seven languages."""

import re
from collections.abc import Mapping

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words
from control_plane.model.plan import Intent

_NUMBER = mark(Kind.NUMBER)
_NAMES = mark(Kind.NAME)

LAUNCH_VERBS: Mapping[Intent, re.Pattern[str]] = {
    Intent.FINETUNE: re.compile(
        words(
            "be fine-?tuned|fine[- ]?tun(?:e|ing)|ft|lora|qlora|peft|sft|dpo|rlhf|grpo|ppo|orpo|"
            "instruction[- ]?tun(?:e|ing)|instruct-?tune|adapter training|domain[- ]adapt|"
            "adapt|speciali[sz]e|personali[sz]e|post-?train(?:ing)?|continue fine-?tuning",
            "finetune[a-z]{0,3}|fine-?tune[anrsz]{1,3}|afina(?:r|me)?|ajusta(?:r)?(?: finamente|"
            " fino)?|ajuste fino|ajustar|feinabstimm[a-z]*|feinjustier[a-z]*|feintun[a-z]*|"
            "feinabstimmung|affine[rz]?|affinage|peaufine[rz]?|fine-?tuner|affina(?:re|mento)?|afine|"
            "ajuste",
            "微调|精调|ファインチューニング|ファインチューン|微調整",
        )
    ),
    Intent.TRAIN: re.compile(
        words(
            "be (?:re-?|pre-?)?trained|train|pre-?train|re-?train|distil+|train(?:ing)? from scratch|"
            "continue (?:pre-?)?training|resume (?:pre-?)?training|co-?train|"
            "hyper-?parameter (?:search|sweep|tuning|optimi[sz]ation)|hpo",
            "(?:re|pre)?entren(?:a|ar|e|en|amos|ame|emos)|trainier(?:e|en|t|st)|vortrainier(?:e|en)|"
            "anlernen|(?:re|pre)?-?entrain(?:e|er|ez|ons)|(?:ri|pre)?-?addestra(?:re|te|mi)?|"
            "allena(?:re|te|mi)?|(?:re|pre)?-?trein(?:e|ar|a|em)|destila(?:r)?|traina(?:re)?",
            "训练(?!好|完|后|出来)|预训练|重新训练|再训练|訓練|学習(?=さ|し|を|$|。|\\.|,)|"
            "トレーニング|事前学習|再学習|蒸留|蒸馏",
        )
    ),
    Intent.INFERENCE: re.compile(
        words(
            "be (?:deployed|served|hosted|exposed|rolled out)|deploy|re-?deploy|serve|host(?= (?:a|"
            "an|the|our|my|llama\\S*|qwen\\S*|mistral\\S*|it|this) )|expose|roll out|stand up|"
            "put (?:\\w+ ){1,5}?(?:in|into) production|productioni[sz]e|"
            "spin up an? (?:\\w+ ){0,4}?(?:endpoint|server|api|service)|(?:run|launch|start|set up|"
            "create|bring up|need|want) (?:a |an |the )?(?:(?!against|on|for|of|from|with|to|test|"
            "tests|at|over|benchmark)\\w+ ){0,5}?(?:endpoint|inference server|inference service|"
            "inference api|inference endpoint|chat server)|keep (?:the |our |my |an? )?(?:(?!node|host|gpu|back|"
            "cost)\\S{1,24} ){1,4}?(?:up|online|live|available|"
            "reachable)(?= (?:from|until|till|for|between|all|on|during|over|throughout|24))|(?:need|want|must have) "
            "(?:the |our |my |an? )?(?:(?!node|host|gpu|back)\\S{1,24} ){1,4}?(?:up|online|live|"
            "reachable)(?: and running)?"
            "(?= (?:from|until|till|for|between|by|on|during|over|throughout|24))|make (?:it|the model|"
            "\\w+) available (?:as|via|over)|go live with",
            "desplieg(?:a|ue)|desplegar|sirv(?:e|a|eme)|servir|pon(?:er)? en produccion|deploy(?:e|"
            "en|t|er|ez|iere|ieren)|stelle? (?:\\S{1,24} ){1,8}?bereit|bereitstellen|bereitzustellen|"
            "ausroll(?:e|en)|hoste(?:n)?|betreibe(?:n)?|deploie[rz]?|deployer|"
            "mets? (?:\\w+ ){1,5}?en production|sers|servez|heberge[rz]?|expose[rz]?|distribuisci|"
            "metti in produzione|servi(?:re)?|esponi|ospita|implant(?:e|ar|a)|coloque em producao|"
            "hosped(?:e|ar)|disponibiliz(?:e|ar)",
            "部署|上线|上架|デプロイ|配信|サービング|公開|ホスト(?:し|する)|立ち上げ",
        )
    ),
    Intent.BATCH: re.compile(
        words(
            "run (?:the |an? |our |my )(?:\\S{1,16} )?(?:tokeni[sz]er|embedder|ocr|parser|pre-?processor|indexer|"
            "renderer|transcoder|"
            "converter|scraper|crawler|etl|data loader|encoder)|quanti[sz]e|download|crawl|scrape|ingest|"
            "shard(?= the)|run (?:\\S{1,24} ){1,6}?through (?:the|our|"
            "my|a) (?:\\S{1,24} )?(?:model|classifier|detector|"
            "pipeline|encoder)|"
            "(?:protein )?folding|docking|(?:mine|mining) (?:for )?(?:the )?(?:\\w+ )?(?:negatives|positives|pairs|"
            "bitexts?|triplets|"
            "examples|patterns|parallel|sentences|queries)|(?:captioning|transcribing|transcription|embedding|"
            "tokeni[sz]ing|"
            "rendering|annotating|translating|re-?indexing|upscaling|denoising|vectori[sz]ing|pseudo-?labell?ing|"
            "auto-?labell?ing|transcoding|diari[sz]ing|pre-?processing|post-?processing)(?![ -](?:models?|heads?|"
            "networks?|"
            "endpoints?|servers?|services?|apis?|adapters?|decoders?|encoders?|layers?|data|datasets?|benchmarks?|"
            "evals?|"
            f"engines?|systems?|dim|size|space|tables?|jobs? (?:is|are|was)|{_NAMES})|s)|"
            "be (?:processed|pre-?processed|tokeni[sz]ed|embedded|captioned|"
            "transcribed|transcoded|"
            "re-?indexed|encoded|rendered|converted|annotated|translated|labell?ed)|"
            "remove (?:the )?(?:duplicates?|near-duplicates|noise|backgrounds?|silence|outliers|"
            "stopwords|pii|watermarks?)|batch-\\w+|batch (?:process|inference|score|job|transcribe|"
            "embed|caption|translate|convert|render|infer|predict|generate|encode|label|classify|"
            "run)|offline inference|bulk[- ](?:process|embed|caption|inference|infer|score|"
            "transcribe|translate|generate|encode|label)|(?:re-?)?tokeni[sz]e|pre-?process|"
            "post-?process|(?:re-?)?embed|caption|transcribe|transcode|re-?index|(?:re-?)?encode|"
            "decode|(?:re-?)?render|convert|annotate|translate|ocr|dedup(?:licate|e)?|augment|"
            "simulate|synthesi[sz]e|crunch|vectori[sz]e|featuri[sz]e|upscale|denoise|rasteri[sz]e|"
            "backfill|resample|pseudo-?label|auto-?label|diari[sz]e|super-?resolve|coloni[sz]e|"
            "digiti[sz]e",
            "tokeniz(?:a|ar|e)|(?:pre-?)?proces(?:a|ar|e)|transcrib(?:e|ir|a)|conviert(?:e|a)|"
            "convertir|traduc(?:e|ir)|traduzc[ao]|renderiz(?:a|ar|e)|indexa(?:r)?|reindexa(?:r)?|"
            "codifica(?:r)?|incrusta|vectoriza(?:r)?|etiqueta(?:r)?|(?:vor)?verarbeit(?:e|en)|"
            "tokenisier(?:e|en)|transkribier(?:e|en)|render(?:e|n)|rendere|ubersetz(?:e|en)|"
            "konvertier(?:e|en)|indexier(?:e|en)|indizier(?:e|en)|beschrift(?:e|en)|bette|einbetten|"
            "wandle|(?:pre-?)?traite[rz]?|tokenise[rz]?|transcri(?:s|re|vez)|converti(?:s|r|ssez)|"
            "tradui(?:s|re|sez)|indexe[rz]?|reindexe[rz]?|legende[rz]?|vectorise[rz]?|annote[rz]?|"
            "(?:pre-?|ri)?-?elabora(?:re|te|zione)?|processa(?:re)?|trascriv(?:i|ere)|tokenizza(?:re)?|"
            "converti(?:re)?|traduci|tradurre|indicizza(?:re)?|didascalia|processe|processar|"
            "transcrev(?:a|er)|converta|converter|traduza|traduzir|indexe|tokenize|legende",
            "预处理|分词|处理|转录|转写|转换|渲染|批量\\S{0,4}|批处理|离线推理|翻译|嵌入|向量化|打标|"
            "标注|索引|インデックス|识别|编码|前処理|トークン化|文字起こし|処理(?=し|を|する)|レンダリング|変換|"
            "バッチ\\S{0,4}|埋め込み|翻訳|索引|字幕|アノテーション|書き起こ",
        )
    ),
    Intent.BENCHMARK: re.compile(
        words(
            "be (?:benchmarked|evaluated|profiled|measured|stress-?tested|load-?tested)|"
            "benchmark(?:ing)?|perf(?:ormance)? test|(?:load|stress|soak|throughput|latency|"
            "bandwidth|speed) test|bench|measure|profile|evaluate|eval|re-?evaluate|stress[- ]?test|"
            "load[- ]?test|soak[- ]?test|burn[- ]?in|validate|smoke[- ]?test|time how long|"
            "see how (?:fast|quick|well)|find out how (?:fast|quick|well)|speed[- ]?test|"
            "compare (?:\\w+ ){0,6}?(?:throughput|latency|speed|performance|tokens|"
            "h100|a100)|compare (?:the )?(?:\\S{1,24} ){0,3}?(?:vs\\.?|versus|against|with|and|to)|mlperf|"
            "nccl[- ]?tests?|all[- ]?reduce (?:test|bandwidth)|"
            "test (?:the )?(?:\\w+ ){0,4}?(?:throughput|latency|bandwidth|performance|speed|"
            "accuracy)|check (?:the )?(?:\\w+ ){0,3}?(?:throughput|bandwidth|tokens/s)|"
            "run (?:the )?(?:\\w+ ){0,2}?evals?",
            "(?:evalu|compar)(?:a|ar|e)|mide|medir|mida|haz un benchmark|prueba de (?:carga|"
            "rendimiento|estres)|miss|messe(?:n)?|miss(?:t)?|benchmarke(?:n)?|bewert(?:e|en)|"
            "evaluier(?:e|en)|vergleich(?:e|en)|belastungstest|lasttest|teste(?:n)?|mesure[rz]?|"
            "evalue[rz]?|compare[rz]?|banc d'essai|test de charge|misura(?:re)?|valuta(?:re)?|"
            "confronta(?:re)?|prova di carico|meca|medir|avali(?:e|ar)|compare|teste de carga",
            "基准测试|跑分|测试|评测|评估|压测|压力测试|测一下|对比|ベンチマーク|ベンチ|測定|計測|"
            "評価|負荷試験|負荷テスト|比較",
        )
    ),
}
"""Words that ask for work outright, by intent; the first of two at one place wins."""
