"""Words for harm: to data, to secrets, to the fleet itself, and workloads that are never allowed."""

import re

from control_plane.agents.orchestrator.planner.shadow import Kind, mark, words
from control_plane.model.plan import RefusalCode

NEAR = r"[^.;!?\n]{0,44}?"
SHORT = r"[^.;!?\n,]{0,28}?"
TAKE = words(
    "print|show|dump|send|e-?mail|post|upload|exfiltrate|leak|copy|reveal|export|share|extract|steal|"
    "(?:give|hand|lend|slip|pass|provide|supply|get|text|dm|slack|whisper) [\\w'@.-]+(?: [\\w'@.-]+){0,2}?"
    "(?= (?:the|our|my|all|his|her|their|an?|those|these|your|root|admin|prod) )|"
    "look up|dig up|obtain|fish out|recover|guess|collect|harvest|cat|display|read(?: out)?|fetch|tell me|"
    "give me|echo|pull|forward|paste|list|"
    "expose|get me|hand over|output|publish|write|retrieve|grab|log|need|want|what is|what are|"
    "what's|decrypt|sniff|scrape|ship",
    "muestra|muestrame|imprime|envia|enviame|manda|copia|revela|dame|exporta|lista|zeige?|zeig|gib|"
    "drucke|sende|schicke?|kopiere|exportiere|montre|affiche|envoie|copie|donne|exporte|mostra|"
    "stampa|invia|dammi|mostre|imprima|envie|copie",
    "打印|显示|发送|导出|泄露|给我|发给|复制|列出|上传|読み出|表示|送信|出力|教えて|コピー|送って|見せて",
)
SECRET = words(
    "(?:api|secret|private|ssh|access|encryption|signing|master|root|aws|cloud|admin|license|"
    f"service account|tls|ca|wandb|hf|openai|user|{mark(Kind.PROVIDER)})[ -]?keys?|"
    "keys (?:to|for) (?:the|all)|secrets?|"
    "credentials?|creds|passwords?|passphrases?|(?:access|auth|bearer|api|join|session|refresh|hf|"
    "huggingface|login|jwt|oauth|github|service|admin|cluster|root|kube|kubernetes|"
    "registry|deploy|personal access|admin access|superuser) tokens?|env(?:ironment)? (?:vars?|variables|"
    "secrets?)|\\.env(?: files?)?|kube-?config|/etc/(?:shadow|passwd)|id_rsa|password hash(?:es)?|"
    "hashes of passwords|vault contents|contents of (?:the )?vault|wallets?|personal data|pii|"
    "customer records|medical records",
    "claves? (?:de )?(?:api|ssh|privadas?)|contrasenas?|credenciales|secretos|api-?schlussel|"
    "(?:private[nr]? )?schlussel|passworter|kennworter|zugangsdaten|geheimnisse|cles? (?:api|ssh|"
    "privees?|d'api)|mots? de passe|identifiants|chiavi (?:api|ssh|private)|credenziali|segreti|"
    "chaves? (?:de )?(?:api|ssh|privadas?)|senhas?|credenciais|segredos",
    "密钥|密码|凭证|凭据|秘钥|api ?key|令牌|私钥|口令|シークレット|パスワード|認証情報|秘密鍵|apiキー|クレデンシャル",
)
SECRET_TOPIC = re.compile(
    r"[ -](?:detect\w*|scan\w*|classif\w*|model|dataset|manager|strength|recognition|leak detect\w*|"
    r"rotation|redact\w*|removal|mask\w*|generator)(?![a-z])"
)
EXFILTRATE = re.compile(
    words(
        "exfiltrate|exfiltrating|smuggle|(?<!-)leak(?= (?:the|all|our|it|them|this|these|customer|user|"
        "secrets?|credentials|weights|keys|passwords?|data))|steal"
    )
    + r"(?![^.;!?\n]{0,20}detect)|"
    + words("send|upload|copy|transfer|sync|push|ship|move|mirror|export|publish")
    + NEAR
    + words(
        "(?:customer|user|patient|private|confidential|internal|proprietary|company|client|training|"
        "other teams?'?|all (?:the )?|everyone's|production) (?:data|datasets?|weights|models?|"
        "records|checkpoints?|code|documents?)|model weights|the weights|proprietary weights"
    )
    + NEAR
    + words(
        "to (?:my|a|an) (?:personal|private|own|external|home|public|third[- ]party|outside|unknown|"
        "anonymous)[a-z -]{0,24}|pastebin|outside the company|competitor|my gmail|dropbox|mega\\.nz|"
        "the internet|public (?:bucket|internet)|external (?:server|host|bucket|ip)|an? ip address|"
        "external"
    )
)
DESTROY = words(
    "delete|deleting|rm|erase|erasing|wipe|wiping|destroy|destroying|purge|purging|shred|nuke|nuking|"
    "trash|obliterate|zap|zero out|scrub|blow away|get rid of|tear down|clear out|clean out|clear|"
    "empty|overwrite|remove|drop|truncate|reformat|corrupt|sabotage|rm -rf?|rm -fr?|burn down|"
    "annihilate|decommission|terminate|kill|shut ?down|power off|turn off|unplug|stop",
    "borra[a-z]*|elimina[a-z]*|suprim[a-z]*|destruy[a-z]*|vacia[a-z]*|formatea[a-z]*|losche?[a-z]*|"
    "loesche?[a-z]*|vernichte[a-z]*|leere[a-z]*|entferne[a-z]*|zerstore[a-z]*|formatiere[a-z]*|"
    "supprime[rz]?|efface[rz]?|detrui[a-z]*|vide[rz]?|formate[rz]?|cancella[a-z]*|distrugg[a-z]*|"
    "svuota[a-z]*|formatta[a-z]*|apague|apagar|apaga|exclu[aei][a-z]*|destru[ai][a-z]*|limpe|limpar|"
    "formate",
    "删除|删掉|删光|清空|清除|抹掉|抹除|格式化|销毁|毁掉|删库|削除|消去|消して|消し|初期化|"
    "フォーマット|ワイプ|破棄|全消し",
)
DATA = words(
    "(?:shared |all |old |the |every |team |prod(?:uction)? |entire |whole |customer |training |"
    "model |our |nightly )*(?:checkpoints?|buckets?|volumes?|datasets?|data ?bases?|db|tables|"
    "back-?ups?|snapshots?|disks?|drives?|file ?systems?|storage|journal d'audit|registros? de auditoria|"
    "registri? di audit|logs? di audit|journaux d'audit|registres? d'audit|logs? de auditoria|logs? d'audit|"
    "audit-?protokolle?|home director(?:y|ies)|artifacts?|"
    "nas|nfs|s3|data lake|object store|archives?|registry|model registry|persistent volumes?|"
    "root partition|audit (?:logs?|records?|trails?|history)|logs of everyone|scratch of everyone|data(?= (?:of|on|"
    "from|in|to free|bucket|volume|dir|director|store|lake|center|centre))|customer data|"
    "training data|user data|shared data|all (?:the |of the |our )?(?:data|files|models|logs|"
    "weights)|everything|the home folders?|user accounts?|all users|namespaces?|production (?:data|"
    "environment|cluster|database|system))",
    "puntos de control|(?:los |sus )?datos (?:de|del)|copias de seguridad|respaldos?|bases? de datos|todos los datos|"
    "discos?|"
    "almacenamiento|conjuntos? de datos|volumenes|sicherung(?:en)?|backups|datenbank(?:en)?|datentrager|"
    "festplatten?|alle daten|datensatze?|speicher-?bucket|speicher|sauvegardes?|bases? de donnees|"
    "toutes les donnees|disques?|stockage|jeux? de donnees|archivi|banche dati|tutti i dati|dischi|"
    "archiviazione|bancos? de dados|todos os dados|discos|armazenamento",
    "检查点|存储桶|数据库|数据集|备份|快照|磁盘|硬盘|所有数据|全部数据|共享(?:存储|数据|目录)|数据|"
    "チェックポイント|バケット|データベース|データセット|バックアップ|スナップショット|ディスク|"
    "ストレージ|全データ|すべてのデータ|共有データ|データ",
)
FLEET = words(
    "(?:all|every|the whole|the entire|entire|each and every|all of the|all the|"
    "all our) (?:of )?(?:the |our |running |production |prod |gpu |compute |other )*(?:nodes?|hosts?|"
    "machines?|servers?|instances?|clusters?|pools?|fleet|vms?|workers?|infrastructure|gpus|"
    "environments?|accounts?|users)|the (?:whole |entire |production )?(?:cluster|fleet|"
    "control plane|platform|data ?cent(?:er|re))|production|prod(?: cluster)?|everyone|the company|"
    "everything",
    "todos los nodos|todo el cluster|alle knoten|den ganzen cluster|gesamte[nr]? (?:cluster|flotte)|"
    "tous les (?:noeuds|serveurs)|tout le cluster|tutti i nodi|todos os nos",
    "所有(?:节点|机器|服务器|实例|集群)|全部(?:节点|机器|服务器)|整个集群|全ノード|すべてのノード|"
    "クラスタ全体|全サーバー?",
)
MINING = words(
    "(?:bit-?coins?|btc|monero|xmr|ethereum|eth|dogecoin|ravencoin|kaspa|crypto(?:currenc(?:y|ies))?|"
    "coins?|altcoins?|tokens on chain|criptomonedas?|kryptowahrung(?:en)?|krypto|cryptomonnaies?|"
    "criptovalute?|criptomoedas?)",
    "比特币|加密货币|虚拟货币|门罗币|以太坊|ビットコイン|仮想通貨|暗号資産",
)
MALICIOUS = re.compile(
    words(
        "mine|mining|miner|minar|mina|minando|mineria de|schurfe|schurfen|minen|mining|mine[rz]|minare|minerar|minere"
    )
    + SHORT
    + MINING
    + "|"
    + words(
        "hash|hashing|farm|farming|earn|earning|mint|minting|dig|digging|stake|staking|generate|generating|make|produce"
    )
    + r"(?: (?:some|a few|more|new|lots of|a bit of|us|me|\S{1,12})){0,2} "
    + MINING
    + r"(?! (?:price|model|predict|data|classif|detect|forecast|report|embedding|chart|news|dataset|transaction))|"
    + words("proof[- ]of[- ]work|mining (?:pool|rig)|hash-?rate|mining software")
    + "|"
    + MINING
    + r"[ -]?"
    + words("mining|miners?|mine", "挖矿|マイニング|採掘")
    + "|"
    + words(
        "nanopool|ethermine|f2pool|2miners|hiveon|antpool|slush ?pool|minergate|flexpool|unmineable|herominers|viabtc|"
        "(?:voice|face|video) (?:clones?|cloning|copy|double|imitation) of (?:my|our|a|the|his|"
        "her) (?:[\\w'-]+ )?[\\w-]*"
        "(?:ex|boss|colleague|neighbou?r|politician|president|celebrity|minister|manager|teacher|wife|husband|girlfriend|boyfriend|"
        "ceo)|(?:phone|call|ring|message|mail|text|write to|dm) [\\w'-]+ as (?:him|her|them|if)|"
        "fake (?:[\\w'-]+ ){0,2}?(?:sms|texts?|e-?mails?|messages?|invoices?|login pages?|reviews|"
        "news(?: articles)?|ids?|passports?|"
        "profiles?|identit(?:y|ies)|diplomas?|certificates?|websites?|shops?|calls)|"
        "(?:ask|trick|lure|coax|con|get|persuade|convince)(?:s|ing|ting)? (?:[\\w'-]+ ){0,4}?(?:for|"
        "into (?:giving|sharing|"
        "entering|revealing)|to (?:give|enter|share|reveal|type)) (?:up |away |in |me |us )?(?:their|his|her|"
        "your) (?:[\\w'-]+ ){0,2}?"
        "(?:cards?|pins?|passwords?|bank|ssn|logins?|credentials|accounts?|savings|cvv)|"
        "nmap|masscan|metasploit|msfconsole|sqlmap|mimikatz|aircrack(?:-ng)?|xmrig|nicehash|ethminer|nbminer|"
        "minerd|cpuminer|t-rex miner|hashcat|john the ripper|"
        "crypto-?jack(?:er|ing)?|crypto-?miner|"
        "(?:crack|cracking|brute[- ]?forc(?:e|ing)) (?:[\\w'-]+ ){0,4}(?:passwords?|hash(?:es)?|wi-?fi|"
        "wpa2?|keys?|logins?|accounts?|pins?|encryption|credentials|ssh)|password crack(?:ing|ers?)|(?:write|compose|"
        "craft|generate|send|draft)\\w* (?:[\\w'-]+ ){0,3}?"
        "(?:phishing|scam|spam)(?: (?:e-?)?(?:mails?|messages?|texts?|sms))?|ddos|"
        "dos attack|denial[- ]of[- ]service|(?:deploys?|installs?|run|builds?|writes?|creates?|produces?|"
        "develops?|plants?|adds?|"
        "injects?|generates?|spreads?|release|launch|inserts?) (?:an? |the |some |"
        "new )?(?:[\\w'-]+ ){0,2}(?:botnet|ransomware|malware|rootkit|keylogger|backdoors?|trojan|"
        "computer virus|worm|spyware|exploit code|phishing (?:emails?|campaign|site|kit)|"
        "reverse shell)|"
        "(?:port[- ]?scan|scan) (?:the |our |their )?(?:internal |corporate |whole |entire |company |"
        "target )*(?:networks?|ports|subnets?)|attack (?:the |a |another |our |their |"
        "competitor)[a-z' ]{0,24}(?:servers?|site|network|company|systems?|api|website)|"
        "hack(?:ing)? (?:into|the|their|our)|flood (?:the |their |a )[a-z ]{0,20}(?:api|server|site|"
        "endpoint)|send spam|spam (?:campaign|emails)|phishing campaign|non-?consensual|"
        "child (?:sexual|porn)|deep-?fakes? of (?:a |the |my )?(?:real|politician|president|celebrit|"
        "colleague|ex|woman|women)|disinformation campaign|nerve agent|bio-?weapons?|"
        "chemical weapons?",
        "挖矿|挖币|矿机程序|勒索软件|木马|后门程序|暴力破解|攻击.{0,8}(?:服务器|网站)|マルウェア|"
        "ランサムウェア|採掘|マイニング(?=し|を|する|$)|不正アクセス|ハッキング",
    )
)
BENIGN_TOPIC = re.compile(
    words(
        "detect|detects|detecting|detector|detection|find|spot(?= mining)|identify|identifies|check|"
        "anyone|someone|anybody|somebody|who|prevent|preventing|block|blocking|report|flag|flags|"
        "flagging|investigate|suspicious|classif[a-z]*|dataset|(?:defen[cds]e?|protect\\w*|robust\\w*|"
        "resilien\\w*) against|defen[cds]e?|"
        "recogni[sz][a-z]*|is there|are there|stop (?:the |any |anyone )?(?:crypto|mining|miner|"
        "malware)|research on|analysis of|analy[sz]e|scanner|filter|filtering|moderation|policy on|"
        "alert (?:me )?(?:on|if|when)|evidence of|hard negatives|text mining|data mining|"
        "process mining|pattern mining|"
        "detecta[a-z]*|deteccion|erkenn[a-z]*|detecte[rz]?|detection|rileva[a-z]*",
        "检测|识别|分类|検知|検出|分類",
    )
)
HARDWARE = re.compile(
    words(
        "over-?clock(?:ing)?|over-?volt(?:ing)?|(?:turn(?:ing)? off|switch(?:ing)? off|disabl(?:e|ing)|"
        "deactivat(?:e|ing)|"
        "without) (?:the )?ecc(?! errors?)|(?:turn|switch)(?: the)? ecc(?: [\\w'-]+){0,3}? off|(?:raise|increase|"
        "bump|lift|exceed|push)(?: [\\w'-]+){0,4}? power (?:limits?|caps?|"
        "draw)|flash (?:the |a )?(?:custom |modified )?(?:v?bios|firmware)|(?:turn off|"
        "disable|stop|kill) (?:the |all )?(?:[\\w'-]+ )?(?:fans?|cooling|chillers?|crac units?)|"
        "run (?:it |them |the gpus? )?(?:past|beyond|above) (?:the )?(?:thermal|temperature|power|"
        "safe)[a-z ]{0,16}(?:limits?|threshold)|force (?:the )?power (?:draw )?(?:above|beyond|past)",
        "超频|オーバークロック",
    )
)
COMMANDS: tuple[tuple[RefusalCode, re.Pattern[str]], ...] = (
    (
        RefusalCode.DESTRUCTIVE,
        re.compile(
            r"rm\s+(?:-{1,2}[a-z-]+\s+)*-[a-z]*(?:rf|fr|r)[a-z]*\s+(?:-{1,2}[a-z-]+\s+)*(?!\.?/?(?:tm"
            r"p|scratch|var/tmp|out|output|build|dist|cache|\.cache|__pycache__)(?:/|\s|"
            r"$))(?!\./)(?:/|~|\*|\$|[a-z0-9_-]*(?:shared|data|checkpoint|backup|prod|home|bucket)|"
            r"\.\.)|"
            r"mkfs|dd\s+[^|;]*of=/dev/|:\(\)\s*\{|>\s*/dev/(?:sd|nvme)|wipefs|shred\s|"
            r"aws\s+s3\s+(?:rb|rm)\b[^|;]*(?:--force|--recursive)|gsutil\s+(?:-m\s+)?rm\s+-[a-z]*r|"
            r"az\s+storage\s+\w+\s+delete|gcloud\s+[^|;]*\sdelete\s|kubectl\s+delete\s+(?:ns|"
            r"namespaces?|nodes?|pv|pvc|all|deploy\w*)|"
            r"drop\s+(?:table|database|schema)|truncate\s+table|terraform\s+destroy|git\s+push\s+[^|"
            r";]*--force|chmod\s+-r\s+777\s+/|chown\s+-r\s+\S+\s+/|find\s+/\S*\s[^|;]*-delete|"
            r"shutdown\s|halt\s|poweroff|killall\s|pkill\s+-9|kill\s+-9\s+-1|docker\s+system\s+prune|"
            r"zpool\s+destroy"
        ),
    ),
    (
        RefusalCode.MALICIOUS_WORKLOAD,
        re.compile(
            r"xmrig|minerd|ethminer|nbminer|cpuminer|t-rex\s+-a|lolminer|phoenixminer|stratum\+tcp|"
            r"hashcat|nc\s+-[a-z]*e|/dev/tcp/|bash\s+-i\s+>|(?:curl|wget)\s[^|"
            r";]*\|\s*(?:sudo\s+)?(?:ba|z)?sh|nmap\s|masscan|hydra\s|metasploit|msfvenom|sqlmap|"
            r"slowloris"
        ),
    ),
    (
        RefusalCode.EXFILTRATES_SECRETS,
        re.compile(
            r"/etc/shadow|(?:printenv|env)\s*(?:\||>)|cat\s+[^|;]*(?:id_rsa|\.aws/credentials|"
            r"\.env\b|\.ssh/|kubeconfig|\.kube/config|/run/secrets|service-account|token)|"
            r"169\.254\.169\.254|(?:curl|wget|nc|scp|rsync)\s[^|;]*(?:id_rsa|credentials|\.env\b|"
            r"/etc/passwd)|vault\s+kv\s+get|kubectl\s+get\s+secrets?"
        ),
    ),
    (
        RefusalCode.DISABLES_SAFETY,
        re.compile(
            r"auditctl\s+-d|systemctl\s+(?:stop|disable)\s+(?:auditd|orquanta|firewalld|dcgm)|"
            r"iptables\s+-f|ufw\s+disable|setenforce\s+0|history\s+-c|orquanta\s+(?:policy|"
            r"guardrails?)\s+(?:off|disable)"
        ),
    ),
)
