"""What a goal must not ask for: word classes in seven languages, and the pairs that are refused."""

import re

from control_plane.agents.orchestrator.shadow import words
from control_plane.model.plan import RefusalCode

NEAR = r"[^.;!?\n]{0,44}?"
SHORT = r"[^.;!?\n,]{0,28}?"

SWITCH_OFF = words(
    "disable|disabling|turn off|turning off|turn(?: \\w+){1,4} off|switch off|switch(?: \\w+){1,4} off|shut off|deactivate|bypass|bypassing|circumvent|circumventing|skip|skipping|ignore|ignoring|override|overriding|suspend|evade|evading|get around|getting around|work around|working around|disregard|lift|remove|unset|defeat|subvert|sidestep|dodge|dodging|waive|loosen|opt out of|exceed|go over|blow past|neuter|knock out|take down|unhook|regardless of|in spite of|despite|whatever the|no matter what the|outside of? the",
    "desactiva[a-z]*|deshabilita[a-z]*|apaga[a-z]*|omit[a-z]{1,4}|salta(?:te|r|rse|rte)?|ignora[a-z]*|quita[a-z]*|elude|eludir|evita los|ausschalten|abschalten|deaktivier[a-z]*|umgeh[a-z]*|ignorier[a-z]*|uberspring[a-z]*|aushebel[a-z]*|schalte?|desactive[rz]?|contourne[rz]?|ignore[rz]?|coupe[rz]?|saute[rz]?|outrepasse[rz]?|eteins|disattiva[a-z]*|disabilita[a-z]*|aggira[a-z]*|bypassa[a-z]*|spegni|salta|desativ[a-z]*|deslig[a-z]*|contorn[a-z]*|pul[ae]r?|burl[ae]r?",
    "禁用|关闭|关掉|关了|绕过|绕开|跳过|忽略|停用|无视|解除|突破|無効|オフに|切って|無視|回避|解除|スキップ|バイパス|迂回",
)
SWITCH_OFF_WEAK = words("stop|stopping|kill|pause|delete|drop|mute|silence|suppress|stopp?e|elimina|detener|stoppen|arrete[rz]?|supprime[rz]?|ferma|pare", "停止|删除|暂停|止めて|止める|停止|削除")
GUARD = words(
    "guard-?rails?|guard rails|safety(?: (?:checks?|limits?|governor|polic(?:y|ies)|rails|interlocks?|net|features?|mechanisms?|systems?|rules|controls?|settings?|filters?|mode))?|governor|polic(?:y|ies)|policy (?:engine|checks?|enforcement|gate)|approvals?|approval (?:gate|step|process|workflow|requirements?|checks?)|audit(?: (?:logs?|logging|trails?|records?|events?))?|auditing|kill[- ]?switch|quotas?|quota (?:checks?|limits?|enforcement)|"
    "(?:spend(?:ing)?|budget|gpu|cost|rate|usage|resource|hard|node|job|account|team|my|the|all|any|our) (?:caps?|limits?)|limits|budget (?:enforcement|checks?|controls?|guards?|rules)|access controls?|authentication|authori[sz]ation|rbac|permissions? checks?|permissions|firewalls?|encryption|tls|mtls|certificate (?:checks?|verification|validation)|blast[- ]radius(?: limits?| checks?)?|change freeze|thermal (?:limits?|protections?|throttling|shutdowns?|safeguards?|cut-?offs?)|power (?:limits?|caps?)|over-?heat(?:ing)? protection|temperature (?:limits?|protections?|checks?)|health checks?|safeguards?|security(?: (?:checks?|controls?|polic(?:y|ies)|groups?|monitoring|settings?|scans?))?|sandbox(?:ing)?|isolation|compliance(?: checks?)?|protections?|human[- ]in[- ]the[- ]loop|two[- ]person rule|sign-?offs?|oversight|monitoring and audit",
    "salvaguardas?|seguridad|politicas?|aprobacion(?:es)?|auditoria|limites?|cuotas?|barreras|protecciones|controles?|leitplanken|sicherheits[a-z]*|sicherheitsprufung(?:en)?|richtlinien?|genehmigung(?:en)?|freigaben?|audit-?log|audit-?protokoll|protokollierung|grenzen|limits?|schutz[a-z]*|kontingente?|garde-fous?|securites?|politiques?|approbations?|journal d'audit|quotas?|validations?|protections|guardrail|sicurezza|approvazion[ei]|protezioni|politiche|limiti|seguranca|aprovac(?:ao|oes)|protec(?:ao|oes)|cotas?",
    "护栏|安全(?:检查|策略|限制|措施|机制|防护)?|审批|批准|审计(?:日志|记录)?|策略|配额|限制|预算(?:限制|上限)|保护|防护|权限(?:检查|控制)?|ガードレール|安全(?:対策|装置|チェック|制限|機能)?|承認|監査(?:ログ)?|ポリシー|クォータ|制限|上限|保護(?:機能)?|セキュリティ",
)
GUARD_STRICT = words(
    "guard-?rails?|guard rails|safety(?: (?:checks?|limits?|governor|features?|systems?|controls?))?|governor|approvals?|audit(?: (?:logs?|logging|trails?|records?|events?))?|audit|auditing|kill[- ]?switch|security monitoring|(?:policy|policies) (?:engine|checks?|enforcement)|(?:safety|approval|budget|security|access|spending|governance|fleet) polic(?:y|ies)|salvaguardas|auditoria|leitplanken|audit-?log|protokollierung|garde-fous?|journal d'audit",
    "护栏|审批|审计(?:日志|记录)?|ガードレール|承認|監査(?:ログ)?",
)
INSTRUCTIONS = words("(?:all |any |your |the |these |my )*(?:previous|prior|above|earlier|preceding|existing|original|system|safety)(?: \\w+)? (?:instructions?|rules?|prompts?|directions?|constraints?|guidelines?|orders)|your (?:rules|instructions|guidelines|guardrails|constraints)|the rules|all rules|instrucciones anteriores|alle (?:vorherigen )?(?:anweisungen|regeln)|(?:toutes )?les (?:instructions|consignes)(?: precedentes)?|le istruzioni precedenti|as instrucoes anteriores", "(?:之前|以上|前面)的?(?:所有)?(?:指令|规则|指示)|(?:以前|上記|これまで)の(?:指示|ルール|命令)")

RAISE = words("raise|increase|bump(?: up)?|lift|expand|double|triple|grant|extend|up|set|change|upgrade|boost|override|remove|unlock|give|max out|sube|subir|aumenta[a-z]*|erhohe|erhohen|anheben|augmente[rz]?|alza|aumente", "提高|增加|提升|上调|修改|上げ|増や|引き上げ|変更")
QUOTA = words("quotas?|privileges?|permissions?|(?:gpu|spending|spend|account|usage|rate|hard) limits?|access level|clearance|role|cuotas?|privilegios|permisos|kontingente?|rechte|berechtigungen|privileges|droits|privilegi|permessi|permissoes|cotas?", "配额|权限|クォータ|権限")
ADMIN = re.compile(words(
    "(?:make|give|grant|promote|turn|set|upgrade|elevate|add) (?:me|us|myself|my (?:account|user|role)|user \\w+|[a-z]+@?[a-z.]*) (?:to |into |an? |as |the |full |with )*(?:admin(?:istrator)?s?|root|superuser|sudo|owner|operator|elevated)(?: (?:rights|access|role|privileges|permissions))?|(?:escalate|elevate) (?:my |the |our )?(?:privileges?|permissions?|access|role|rights)|(?:full|admin|root) access to (?:everything|all|the (?:cluster|fleet|host))|disable_?auth|sudo su",
    "(?:hazme|dame) (?:permisos de )?admin[a-z]*|mach mich zum admin[a-z]*|fais de moi un admin[a-z]*|rendimi admin[a-z]*",
    "(?:给我|将我|把我).{0,6}管理员|管理者権限を",
))  # fmt: skip

TAKE = words(
    "print|show|dump|send|e-?mail|post|upload|exfiltrate|leak|copy|reveal|export|share|extract|steal|collect|harvest|cat|display|read(?: out)?|fetch|tell me|give me|echo|pull|forward|paste|list|expose|get me|hand over|output|publish|write|retrieve|grab|log|need|want|what is|what are|what's|decrypt|sniff|scrape|ship",
    "muestra|muestrame|imprime|envia|enviame|manda|copia|revela|dame|exporta|lista|zeige?|zeig|gib|drucke|sende|schicke?|kopiere|exportiere|montre|affiche|envoie|copie|donne|exporte|mostra|stampa|invia|dammi|mostre|imprima|envie|copie",
    "打印|显示|发送|导出|泄露|给我|发给|复制|列出|上传|読み出|表示|送信|出力|教えて|コピー|送って|見せて",
)
SECRET = words(
    "(?:api|secret|private|ssh|access|encryption|signing|master|root|aws|cloud|admin|license|service account|tls|ca|wandb|hf|openai|user)[ -]?keys?|keys (?:to|for) (?:the|all)|secrets?|credentials?|creds|passwords?|passphrases?|(?:access|auth|bearer|api|join|session|refresh|hf|huggingface|login|jwt|oauth|github|service) tokens?|env(?:ironment)? (?:vars?|variables|secrets?)|\\.env(?: files?)?|kube-?config|/etc/(?:shadow|passwd)|id_rsa|password hash(?:es)?|hashes of passwords|vault contents|contents of (?:the )?vault|wallets?|personal data|pii|customer records|medical records",
    "claves? (?:de )?(?:api|ssh|privadas?)|contrasenas?|credenciales|secretos|api-?schlussel|(?:private[nr]? )?schlussel|passworter|kennworter|zugangsdaten|geheimnisse|cles? (?:api|ssh|privees?|d'api)|mots? de passe|identifiants|chiavi (?:api|ssh|private)|credenziali|segreti|chaves? (?:de )?(?:api|ssh|privadas?)|senhas?|credenciais|segredos",
    "密钥|密码|凭证|凭据|秘钥|api ?key|令牌|私钥|口令|シークレット|パスワード|認証情報|秘密鍵|apiキー|クレデンシャル",
)
SECRET_TOPIC = re.compile(r"[ -](?:detect\w*|scan\w*|classif\w*|model|dataset|manager|strength|recognition|leak detect\w*|rotation|redact\w*|removal|mask\w*|generator)(?![a-z])")
EXFILTRATE = re.compile(
    words("exfiltrate|exfiltrating|smuggle|leak(?! (?:detect|test|check))|steal") + r"(?![^.;!?\n]{0,20}detect)|"
    + words("send|upload|copy|transfer|sync|push|ship|move|mirror|export|publish") + NEAR
    + words("(?:customer|user|patient|private|confidential|internal|proprietary|company|client|training|other teams?'?|all (?:the )?|everyone's|production) (?:data|datasets?|weights|models?|records|checkpoints?|code|documents?)|model weights|the weights|proprietary weights") + NEAR
    + words("to (?:my|a|an) (?:personal|private|own|external|home|public|third[- ]party|outside|unknown|anonymous)[a-z -]{0,24}|pastebin|outside the company|competitor|my gmail|dropbox|mega\\.nz|the internet|public (?:bucket|internet)|external (?:server|host|bucket|ip)|an? ip address|external")
)

DESTROY = words(
    "delete|deleting|rm|erase|erasing|wipe|wiping|destroy|destroying|purge|purging|shred|nuke|nuking|trash|obliterate|zap|zero out|scrub|blow away|get rid of|tear down|clear out|clean out|clear|empty|overwrite|remove|drop|truncate|reformat|corrupt|sabotage|rm -rf?|rm -fr?|burn down|annihilate|decommission|terminate|kill|shut ?down|power off|turn off|unplug|stop",
    "borra[a-z]*|elimina[a-z]*|suprim[a-z]*|destruy[a-z]*|vacia[a-z]*|formatea[a-z]*|losche?[a-z]*|loesche?[a-z]*|vernichte[a-z]*|leere[a-z]*|entferne[a-z]*|zerstore[a-z]*|formatiere[a-z]*|supprime[rz]?|efface[rz]?|detrui[a-z]*|vide[rz]?|formate[rz]?|cancella[a-z]*|distrugg[a-z]*|svuota[a-z]*|formatta[a-z]*|apague|apagar|apaga|exclu[aei][a-z]*|destru[ai][a-z]*|limpe|limpar|formate",
    "删除|删掉|删光|清空|清除|抹掉|抹除|格式化|销毁|毁掉|删库|削除|消去|消して|消し|初期化|フォーマット|ワイプ|破棄|全消し",
)
DATA = words(
    "(?:shared |all |old |the |every |team |prod(?:uction)? |entire |whole |customer |training |model |our |nightly )*(?:checkpoints?|buckets?|volumes?|datasets?|data ?bases?|db|tables|back-?ups?|snapshots?|disks?|drives?|file ?systems?|storage|home director(?:y|ies)|artifacts?|nas|nfs|s3|data lake|object store|archives?|registry|model registry|persistent volumes?|root partition|audit logs?|audit records?|logs of everyone|scratch of everyone|data(?= (?:of|on|from|in|to free|bucket|volume|dir|director|store|lake|center|centre))|customer data|training data|user data|shared data|all (?:the |of the |our )?(?:data|files|models|logs|weights)|everything|the home folders?|user accounts?|all users|namespaces?|production (?:data|environment|cluster|database|system))",
    "puntos de control|copias de seguridad|respaldos?|bases? de datos|todos los datos|discos?|almacenamiento|conjuntos? de datos|volumenes|sicherungen|backups|datenbanken?|datentrager|festplatten?|alle daten|datensatze?|speicher-?bucket|speicher|sauvegardes?|bases? de donnees|toutes les donnees|disques?|stockage|jeux? de donnees|archivi|banche dati|tutti i dati|dischi|archiviazione|bancos? de dados|todos os dados|discos|armazenamento",
    "检查点|存储桶|数据库|数据集|备份|快照|磁盘|硬盘|所有数据|全部数据|共享(?:存储|数据|目录)|数据|チェックポイント|バケット|データベース|データセット|バックアップ|スナップショット|ディスク|ストレージ|全データ|すべてのデータ|共有データ|データ",
)
FLEET = words(
    "(?:all|every|the whole|the entire|entire|each and every|all of the|all the|all our) (?:of )?(?:the |our |running |production |prod |gpu |compute |other )*(?:nodes?|hosts?|machines?|servers?|instances?|clusters?|pools?|fleet|vms?|workers?|infrastructure|gpus|environments?|accounts?|users)|the (?:whole |entire |production )?(?:cluster|fleet|control plane|platform|data ?cent(?:er|re))|production|prod(?: cluster)?|everyone|the company|everything",
    "todos los nodos|todo el cluster|alle knoten|den ganzen cluster|gesamte[nr]? (?:cluster|flotte)|tous les (?:noeuds|serveurs)|tout le cluster|tutti i nodi|todos os nos",
    "所有(?:节点|机器|服务器|实例|集群)|全部(?:节点|机器|服务器)|整个集群|全ノード|すべてのノード|クラスタ全体|全サーバー?",
)
WORK = words("jobs?|runs?|training|trainings|experiments?|workloads?|reservations?|tasks?|deployments?|endpoints?|sessions?|notebooks?|processes|containers|trabajos?|entrenamientos?|auftrage|jobs|laufe|taches|entrainements|lavori|tarefas", "任务|作业|训练|ジョブ|タスク")
OTHERS = words(
    "(?:all |every |any )?(?:other|another|different) (?:people|person|users?|teams?|groups?|researchers?|departments?|tenants?|projects?)(?:'s?|s')?|everyone(?: else)?(?:'s)?|everybody(?: else)?(?:'s)?|someone(?: else)?(?:'s)?|somebody(?: else)?(?:'s)?|anyone(?: else)?(?:'s)?|all users(?:')?|all teams(?:')?|other people's|colleagues?'?s?|coworkers?'?s?|competitors?(?:'s?)?|rivals?'?s?|their|everyone but me",
    "otros (?:equipos|usuarios)|otro (?:equipo|usuario)|los demas|anderer? (?:teams?|nutzer|leute)|anderen|der anderen|aller anderen|autres (?:equipes|utilisateurs)|d'autres|des autres|altri (?:team|utenti)|degli altri|outros (?:times|usuarios)|outras equipes|dos outros",
    "别人的?|其他人的?|他人的?|其他团队的?|别的团队的?|其他用户的?|他の(?:チーム|人|ユーザー?|部署)の?|他人の|みんなの",
)
OWN_POSSESSIVE = "job|node|today|yesterday|tomorrow|week|month|year|night|quarter|it|that|let|what|there|here|who|morning|evening|run|cluster|pool|project|company|model|sprint|fleet|everyone|someone|somebody|anyone|nobody|gpu|goal|experiment|training|monday|friday|he|she|how|where|don|can|aws|gcp|azure"
NAMED_OTHER = rf"(?<![a-z0-9])(?!(?:{OWN_POSSESSIVE})'s)(?:(?:team |the )?[a-z][a-z-]{{1,20}}'s|team [a-z][a-z-]{{1,20}}(?:'s)?|the [a-z]{{2,16}} team(?:'s)?)"
DISTURB = words("kill|killing|cancel|cancelling|stop|stopping|terminate|delete|remove|preempt|pre-empt|evict|bump|pause|suspend|abort|drain|kick(?: out| off)?|drop|throttle|starve|sabotage|crash|take over|steal|grab|seize|hijack|cancela|mata|deten|elimina|stoppe|beende|losche|abbrechen|annule[rz]?|tue[rz]?|arrete[rz]?|supprime[rz]?|annulla|ferma|uccidi|termina|cancele|pare|mate", "杀掉|停掉|停止|取消|终止|踢掉|抢占|删除|止めて|停止|キャンセル|強制終了|中断")
SPEND = words("charge|bill|use|using|spend|book|put|take|draw|debit|pay|expense|draining|drain|burn|cobra|carga|usa|usar|gasta|buche|nutze|belaste|verwende|facture[rz]?|utilise[rz]?|impute[rz]?|addebita|usa|cobre|use|debite", "用|使用|花|记到|扣|计入|使っ|請求|付け")
PURSE = words("budgets?|credits?|credit card|card|quotas?|accounts?|allowance|reservations?|allocation|cost cent(?:er|re)|funds?|money|wallet|presupuesto|cuenta|cuota|credenciales|budget|konto|kontingent|kreditkarte|compte|quota|carte|conto|orcamento|conta|credentials?|logins?|tokens?|keys?|passwords?|identity|ssh keys?|api keys?", "预算|账号|账户|配额|额度|凭证|予算|アカウント|クォータ|枠|認証情報")

IMPERSONATE = re.compile(words(
    "impersonate|impersonating|pretend (?:to be|you are|you're|that you|i am|i'm|that i|we are)|pose as|posing as|masquerade as|spoof|forge|forging|(?:act|log ?in|sign ?in|submit|authenticate|approve|launch|execute|run|do|start|behave|operate|sign off) (?:(?:it|this|that|the job|everything|jobs|in|off|the request) )?as (?:the |an? |if you were |if i were |my )?(?:admin(?:istrator)?|root user|superuser|another (?:user|person)|someone else|somebody else|different user|ceo|cto|cfo|boss|manager|director|operator|owner|colleague|user [a-z]+|[a-z]+@[a-z.]+|on-?call|security)|"
    "in (?:[a-z]+'s|someone else's|another user's) name|under (?:[a-z]+'s|someone else's|another user's|a different) (?:name|account|identity|user)|on behalf of (?!my|our|the team|us|me)[a-z]+ without|without (?:him|her|them) knowing|use a fake (?:identity|name|account)|hazte pasar por|gib dich als|fais-toi passer pour|fingiti|finja ser",
    "冒充|假装(?:是|成)|以.{1,8}的(?:身份|名义)|なりすま|のふりをし|として(?:ログイン|承認)",
))  # fmt: skip
COVERT = re.compile(words(
    "without (?:asking|approval|an approval|any approval|authori[sz]ation|permission|telling|notifying|informing|anyone (?:knowing|noticing)|oversight|sign-?off|leaving (?:a )?trace|(?:going through|waiting for) (?:the )?(?:approval|approvals|governor|review|policy)|being (?:audited|logged|noticed|detected|seen)|audit(?:ing)?|an audit trail|logging (?:it|this|anything)|a human|policy checks?|guardrails?|safety checks?|any (?:checks|limits|guardrails|safeguards))|"
    "(?:no|skip) (?:need for )?(?:approval|approvals|authori[sz]ation)(?= |$|[.,!;])(?! (?:needed|required|queue|is (?:needed|required)|yet))|auto-?approve|self-?approve|approve (?:it |this |that |them )?(?:yourself|automatically|on my behalf|for me|all (?:pending|requests|my))|approve (?:my own|all pending|every|everything|the pending|act-)|"
    "(?:don't|do not|dont|never) (?:tell|notify|inform|alert|ask|involve) (?:finance|security|my (?:manager|boss|lead)|anyone|anybody|the (?:admins?|manager|owner|team|security team|on-?call|approvers?|users?)|audit|ops|them|compliance)|(?:don't|do not|dont|never) (?:log|record|audit|write) (?:this|it|that|anything|the action|any of)(?![a-z]| (?:to wandb|metrics))|off the (?:books|record)|hide (?:it|this|that|the (?:cost|spend|job|run|jobs|usage|activity)|my [a-z]+) from|"
    "so (?:that )?(?:nobody|no one|noone|finance|security|audit|the admins?|they|my (?:boss|manager)) (?:notices?|sees?|knows?|finds? out|can see|don't notice|doesn't notice|won't notice|will not notice)|(?:avoid|evade|dodge|escape|stay (?:below|under)|slip (?:under|past)|sneak (?:past|under)|beat|to get (?:around|past)) (?:the )?(?:\\w+ )?(?:approval|audit|detection|review|quota|policy|radar|limit check)(?: threshold| limit)?|under the radar|cover (?:my|our|your) tracks|leave no trace|no paper trail|tamper with|rewrite the audit|edit the audit|falsify|backdate|modify the audit|fake (?:the )?(?:approval|metrics|usage|logs|audit)",
    "sin (?:aprobacion|autorizacion|pedir permiso|avisar|que nadie)|no (?:avises|informes)|ohne (?:genehmigung|freigabe|zu fragen|rucksprache|erlaubnis|dass jemand)|sans (?:approbation|autorisation|demander|prevenir|validation|que personne)|senza (?:approvazione|autorizzazione|chiedere|avvisare)|sem (?:aprovacao|autorizacao|avisar|pedir)",
    "不(?:要|用|需要|经|经过)(?:任何)?(?:审批|批准|授权)|未经(?:批准|授权|审批)|别(?:告诉|通知)|不要(?:记录|告诉|通知)|不留痕迹|承認なし|無断|承認を?(?:待たず|得ず|取らず)|許可なく|内緒|ログに残さ|記録(?:せず|しない)",
))  # fmt: skip
MINING = words("(?:bit-?coins?|btc|monero|xmr|ethereum|eth|dogecoin|ravencoin|kaspa|crypto(?:currenc(?:y|ies))?|coins?|altcoins?|tokens on chain|criptomonedas?|kryptowahrung(?:en)?|krypto|cryptomonnaies?|criptovalute?|criptomoedas?)", "比特币|加密货币|虚拟货币|门罗币|以太坊|ビットコイン|仮想通貨|暗号資産")
MALICIOUS = re.compile(
    words("mine|mining|miner|minar|mina|minando|mineria de|schurfe|schurfen|minen|mining|mine[rz]|minare|minerar|minere") + SHORT + MINING + "|" + MINING + r"[ -]?" + words("mining|miners?|mine", "挖矿|マイニング|採掘")
    + "|" + words(
        "xmrig|nicehash|ethminer|nbminer|minerd|cpuminer|t-rex miner|hashcat|john the ripper|crypto-?jack(?:er|ing)?|crypto-?miner|"
        "(?:crack|cracking|brute[- ]?forc(?:e|ing)) (?:\\w+ ){0,4}(?:passwords?|hash(?:es)?|wi-?fi|wpa2?|keys?|logins?|accounts?|pins?|encryption|credentials|ssh)|password cracking|ddos|dos attack|denial[- ]of[- ]service|(?:deploy|install|run|build|write|create|plant|add|inject|generate|spread|release|launch|insert) (?:an? |the |some |new )?(?:\\w+ ){0,2}(?:botnet|ransomware|malware|rootkit|keylogger|backdoors?|trojan|computer virus|worm|spyware|exploit code|phishing (?:emails?|campaign|site|kit)|reverse shell)|"
        "(?:port[- ]?scan|scan) (?:the |our |their )?(?:internal |corporate |whole |entire |company |target )*(?:networks?|ports|subnets?)|attack (?:the |a |another |our |their |competitor)[a-z' ]{0,24}(?:servers?|site|network|company|systems?|api|website)|hack(?:ing)? (?:into|the|their|our)|flood (?:the |their |a )[a-z ]{0,20}(?:api|server|site|endpoint)|send spam|spam (?:campaign|emails)|phishing campaign|non-?consensual|child (?:sexual|porn)|deep-?fakes? of (?:a |the |my )?(?:real|politician|president|celebrit|colleague|ex|woman|women)|disinformation campaign|nerve agent|bio-?weapons?|chemical weapons?",
        "挖矿|挖币|矿机程序|勒索软件|木马|后门程序|暴力破解|攻击.{0,8}(?:服务器|网站)|マルウェア|ランサムウェア|採掘|マイニング(?=し|を|する|$)|不正アクセス|ハッキング",
    )
)
BENIGN_TOPIC = re.compile(
    words(
        "detect|detects|detecting|detector|detection|find|spot(?= mining)|identify|identifies|check|anyone|someone|anybody|somebody|who|prevent|preventing|block|blocking|report|flag|flags|flagging|investigate|suspicious|classif[a-z]*|dataset|against|defen[cds]e?|recogni[sz][a-z]*|is there|are there|stop (?:the |any |anyone )?(?:crypto|mining|miner|malware)|research on|analysis of|analy[sz]e|scanner|filter|filtering|moderation|policy on|alert (?:me )?(?:on|if|when)|evidence of|hard negatives|text mining|data mining|process mining|pattern mining|"
        "detecta[a-z]*|deteccion|erkenn[a-z]*|detecte[rz]?|detection|rileva[a-z]*",
        "检测|识别|分类|検知|検出|分類",
    )
)
HARDWARE = re.compile(words(
    "over-?clock(?:ing)?|flash (?:the |a )?(?:custom |modified )?(?:v?bios|firmware)|(?:turn off|disable|stop|kill) (?:the |all )?(?:\\w+ )?(?:fans?|cooling|chillers?|crac units?)|run (?:it |them |the gpus? )?(?:past|beyond|above) (?:the )?(?:thermal|temperature|power|safe)[a-z ]{0,16}(?:limits?|threshold)|force (?:the )?power (?:draw )?(?:above|beyond|past)",
    "超频|オーバークロック",
))  # fmt: skip
HIJACK = re.compile(words(
    "you are now (?:an? |the |in )?(?:\\w+ )?(?:admin|administrator|root|unrestricted|dan|developer|god|jailbroken|free)|developer mode|god mode|jail-?break|(?:reveal|print|show|repeat) (?:me )?(?:your|the) (?:system )?prompt|new system prompt|system override|override code|sudo mode|emergency override|as an ai without|no restrictions apply|unrestricted mode",
    "越狱模式|开发者模式|システムプロンプト",
))  # fmt: skip

COMMANDS: tuple[tuple[RefusalCode, re.Pattern[str]], ...] = (
    (
        RefusalCode.DESTRUCTIVE,
        re.compile(
            r"rm\s+(?:-{1,2}[a-z-]+\s+)*-[a-z]*(?:rf|fr|r)[a-z]*\s+(?:-{1,2}[a-z-]+\s+)*(?!\.?/?(?:tmp|scratch|var/tmp|out|output|build|dist|cache|\.cache|__pycache__)(?:/|\s|$))(?!\./)(?:/|~|\*|\$|[a-z0-9_-]*(?:shared|data|checkpoint|backup|prod|home|bucket)|\.\.)|"
            r"mkfs|dd\s+[^|;]*of=/dev/|:\(\)\s*\{|>\s*/dev/(?:sd|nvme)|wipefs|shred\s|aws\s+s3\s+(?:rb|rm)\b[^|;]*(?:--force|--recursive)|gsutil\s+(?:-m\s+)?rm\s+-[a-z]*r|az\s+storage\s+\w+\s+delete|gcloud\s+[^|;]*\sdelete\s|kubectl\s+delete\s+(?:ns|namespaces?|nodes?|pv|pvc|all|deploy\w*)|"
            r"drop\s+(?:table|database|schema)|truncate\s+table|terraform\s+destroy|git\s+push\s+[^|;]*--force|chmod\s+-r\s+777\s+/|chown\s+-r\s+\S+\s+/|find\s+/\S*\s[^|;]*-delete|shutdown\s|halt\s|poweroff|killall\s|pkill\s+-9|kill\s+-9\s+-1|docker\s+system\s+prune|zpool\s+destroy"
        ),
    ),
    (
        RefusalCode.MALICIOUS_WORKLOAD,
        re.compile(
            r"xmrig|minerd|ethminer|nbminer|cpuminer|t-rex\s+-a|lolminer|phoenixminer|stratum\+tcp|hashcat|nc\s+-[a-z]*e|/dev/tcp/|bash\s+-i\s+>|(?:curl|wget)\s[^|;]*\|\s*(?:sudo\s+)?(?:ba|z)?sh|nmap\s|masscan|hydra\s|metasploit|msfvenom|sqlmap|slowloris"
        ),
    ),
    (
        RefusalCode.EXFILTRATES_SECRETS,
        re.compile(
            r"/etc/shadow|(?:printenv|env)\s*(?:\||>)|cat\s+[^|;]*(?:id_rsa|\.aws/credentials|\.env\b|\.ssh/|kubeconfig|\.kube/config|/run/secrets|service-account|token)|169\.254\.169\.254|(?:curl|wget|nc|scp|rsync)\s[^|;]*(?:id_rsa|credentials|\.env\b|/etc/passwd)|vault\s+kv\s+get|kubectl\s+get\s+secrets?"
        ),
    ),
    (
        RefusalCode.DISABLES_SAFETY,
        re.compile(r"auditctl\s+-d|systemctl\s+(?:stop|disable)\s+(?:auditd|orquanta|firewalld|dcgm)|iptables\s+-f|ufw\s+disable|setenforce\s+0|history\s+-c|orquanta\s+(?:policy|guardrails?)\s+(?:off|disable)"),
    ),
)
