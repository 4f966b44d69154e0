"""What a goal must not ask for: word classes in seven languages, and the pairs that are refused."""

import re

from control_plane.agents.orchestrator.planner.shadow import words

SWITCH_OFF = words(
    "uninstall|disable|disabling|turn off|turning off|turn(?: [\\w'-]+){1,4} off|switch off|"
    "switch(?: [\\w'-]+){1,4} off|shut off|deactivate|bypass|bypassing|circumvent|circumventing|skip|"
    "skipping|ignore|ignoring|override|overriding|suspend|evade|evading|get around|getting around|"
    "work around|working around|disregard|lift|remove|unset|defeat|subvert|sidestep|dodge|dodging|"
    "waive|loosen|opt out of|exceed|go over|blow past|neuter|knock out|take down|unhook|"
    "(?:don't|do not|dont|not|never|without) bother(?:ing)?(?: with| about| asking| waiting)?|never mind|"
    "forget(?: about)?(?! to)|"
    "leave out|cut out|jump|no time for|no need (?:to (?:wait|ask|go|check|get|bother)|for)|let's not (?:wait|"
    "ask|do|bother)|"
    "spare (?:me|us)|straight past|screw|to hell with|who (?:needs|cares about)|"
    "regardless of|in spite of|despite|whatever the|no matter what the|outside of? the",
    "desactiva[a-z]*|deshabilita[a-z]*|apaga[a-z]*|omit[a-z]{1,4}|salta(?:te|r|rse|rte)?|"
    "ignora[a-z]*|quita[a-z]*|elude|eludir|evita los|ausschalten|abschalten|deaktivier[a-z]*|"
    "umgeh[a-z]*|ignorier[a-z]*|uberspring[a-z]*|aushebel[a-z]*|schalte?|desactive[rz]?|"
    "contourne[rz]?|ignore[rz]?|coupe[rz]?|saute[rz]?|outrepasse[rz]?|eteins|disattiva[a-z]*|"
    "disabilita[a-z]*|aggira[a-z]*|bypassa[a-z]*|spegni|salta|desativ[a-z]*|deslig[a-z]*|"
    "contorn[a-z]*|pul[ae]r?|burl[ae]r?",
    "禁用|关闭|关掉|关了|绕过|绕开|跳过|忽略|停用|无视|解除|突破|無効|オフに|切って|無視|回避|解除|"
    "スキップ|バイパス|迂回",
)
SWITCH_OFF_WEAK = words(
    "stop|stopping|kill|pause|delete|drop|mute|silence|suppress|stopp?e|elimina|detener|stoppen|"
    "arrete[rz]?|supprime[rz]?|ferma|pare",
    "停止|删除|暂停|止めて|止める|停止|削除",
)
GUARD = words(
    "guard-?rails?|guard rails|safety(?: (?:checks?|limits?|governor|polic(?:y|ies)|rails|"
    "interlocks?|net|features?|mechanisms?|systems?|rules|controls?|settings?|filters?|mode))?|"
    "governor|polic(?:y|ies)|policy (?:engine|checks?|enforcement|gate)|approvals?|approval (?:gate|"
    "step|process|workflow|requirements?|checks?)|audit(?: (?:logs?|logging|trails?|records?|"
    "events?))?|auditing|kill[- ]?switch|quotas?|quota (?:checks?|limits?|enforcement)|"
    "(?:spend(?:ing)?|budget|gpu|cost|rate|usage|resource|hard|node|job|account|team|my|the|all|any|"
    "our) (?:caps?|limits?)|limits|budget (?:enforcement|checks?|controls?|guards?|rules)|"
    "access controls?|authentication|authori[sz]ation|rbac|permissions? checks?|permissions|"
    "firewalls?|encryption|tls|mtls|certificate (?:checks?|verification|validation)|"
    "blast[- ]radius(?: limits?| checks?)?|change freeze|thermal (?:limits?|protections?|throttling|"
    "shutdowns?|safeguards?|cut-?offs?)|power (?:limits?|caps?)|over-?heat(?:ing)? protection|"
    "temperature (?:limits?|protections?|checks?)|health checks?|safeguards?|security(?: (?:checks?|"
    "controls?|polic(?:y|ies)|groups?|monitoring|settings?|scans?))?|sandbox(?:ing)?|isolation|"
    "compliance(?: checks?)?|protections?|human[- ]in[- ]the[- ]loop|two[- ]person rule|sign-?offs?|"
    "(?:spend(?:ing)?|budget|cost|policy|safety|approval|audit|quota|residency|compliance|security|access|temperature|thermal|"
    "power|usage|egress|launch|governance|privacy|retention|firewall|permission|admission|over-?temperature|"
    "intrusion)[ -]"
    "(?:rules?|alarms?|alerts?|checks?|gates?|guards?|limits?|limiters?|caps?|protections?|controls?|filters?|monitors?|"
    "polic(?:y|ies)|thresholds?|reviews?|restrictions?|safeguards?|enforcement|locks?|warnings?|requirements?|watchdogs?)|"
    "(?:logging|recording|logs?|tracking) of (?:actions?|events?|commands?|what|changes?|activity|activities|"
    "operations)|"
    "(?:action|activity|access|event|command|security) (?:logs?|logging|recording)(?! (?:dataset|data|corpus|anomal|"
    "analysis|classif|parser|file|model|embedding|event))|"
    "(?:the|any|all|human|manager(?:'s)?|management|security|cost|launch|ops|change|peer|finance) reviews?"
    "(?! (?:data|set|corpus|texts?|model|with|that|from|of|classif|dataset|scores?|rating))|review (?:step|"
    "process|board|gate|"
    "stage|queue)|reviewers?|approvers?|"
    "oversight|monitoring and audit|(?:monitoring|security|audit|telemetry|node) (?:agents?|daemons?|"
    "hooks?)",
    "budget-?limits?|budgetgrenzen?|ausgabenlimits?|kostenlimits?|kontingentgrenzen?|salvaguardas?|seguridad|"
    "politicas?|aprobacion(?:es)?|auditoria|limites?|cuotas?|barreras|"
    "protecciones|controles?|leitplanken|sicherheits[a-z]*|sicherheitsprufung(?:en)?|richtlinien?|"
    "genehmigung(?:en)?|freigaben?|audit-?log|audit-?protokoll|protokollierung|grenzen|limits?|"
    "schutz[a-z]*|kontingente?|garde-fous?|securites?|politiques?|approbations?|journal d'audit|"
    "quotas?|validations?|protections|guardrail|sicurezza|approvazion[ei]|protezioni|politiche|"
    "limiti|seguranca|aprovac(?:ao|oes)|protec(?:ao|oes)|cotas?",
    "护栏|安全(?:检查|策略|限制|措施|机制|防护)?|审批|批准|审计(?:日志|记录)?|策略|配额|限制|"
    "预算(?:限制|上限)|保护|防护|权限(?:检查|控制)?|ガードレール|安全(?:対策|装置|チェック|制限|"
    "機能)?|承認|監査(?:ログ)?|ポリシー|クォータ|制限|上限|保護(?:機能)?|セキュリティ",
)
GUARD_STRICT = words(
    "guard-?rails?|guard rails|safety(?: (?:checks?|limits?|governor|features?|systems?|controls?))?|"
    "governor|approvals?|audit(?: (?:logs?|logging|trails?|records?|events?))?|audit|auditing|"
    "kill[- ]?switch|security monitoring|(?:policy|policies) (?:engine|checks?|enforcement)|"
    "(?:safety|approval|budget|security|access|spending|governance|fleet) polic(?:y|ies)|"
    "salvaguardas|auditoria|leitplanken|audit-?log|protokollierung|garde-fous?|journal d'audit",
    "护栏|审批|审计(?:日志|记录)?|ガードレール|承認|監査(?:ログ)?",
)
INSTRUCTIONS = words(
    "(?:all |any |your |the |these |my )*(?:previous|prior|above|earlier|preceding|existing|original|"
    "system|safety)(?: \\w+)? (?:instructions?|rules?|prompts?|directions?|constraints?|guidelines?|"
    "orders)|everything (?:above|below|before|you were told|you've been told|else you)|(?:all of |all )?the above|"
    "whatever you were told|your (?:training|programming|system message|configuration)|your (?:rules|"
    "instructions|guidelines|guardrails|constraints)|the rules|all rules|"
    "instrucciones anteriores|alle (?:vorherigen )?(?:anweisungen|regeln)|"
    "(?:toutes )?les (?:instructions|consignes)(?: precedentes)?|le istruzioni precedenti|"
    "as instrucoes anteriores",
    "(?:之前|以上|前面)的?(?:所有)?(?:指令|规则|指示)|(?:以前|上記|これまで)の(?:指示|ルール|命令)",
)

RAISE = words(
    "raise|increase|bump(?: up)?|lift|expand|double|triple|grant|extend|up|set|change|upgrade|boost|"
    "override|remove|unlock|give|max out|sube|subir|aumenta[a-z]*|erhohe|erhohen|anheben|"
    "augmente[rz]?|alza|aumente",
    "提高|增加|提升|上调|修改|上げ|増や|引き上げ|変更",
)
QUOTA = words(
    "quotas?|privileges?|permissions?|(?:gpu|spending|spend|account|usage|rate|hard) limits?|"
    "access level|clearance|role|cuotas?|privilegios|permisos|kontingente?|rechte|berechtigungen|"
    "privileges|droits|privilegi|permessi|permissoes|cotas?",
    "配额|权限|クォータ|権限",
)
ADMIN = re.compile(
    words(
        "(?:grant|give|assign|hand) (?:[\\w'-]+ ){0,3}?(?:root|admin(?:istrator)?s?|sudo|superuser)(?: (?:rights|"
        "access|role|privileges|permissions))? (?:to|for)|(?:make|give|grant|promote|turn|set|upgrade|"
        "elevate|add) (?:me|us|myself|my (?:account|user|"
        "role)|user \\w+|[a-z]+@?[a-z.]*) (?:to |into |an? |as |the |full |"
        "with )*(?:admin(?:istrator)?s?|root|superuser|sudo|owner|operator|elevated)(?: (?:rights|"
        "access|role|privileges|permissions))?|(?:escalate|elevate) (?:my |the |our )?(?:privileges?|"
        "permissions?|access|role|rights)|(?:full|admin|root) access to (?:everything|all|"
        "the (?:cluster|fleet|host))|disable_?auth|sudo su",
        "(?:hazme|dame) (?:permisos de )?admin[a-z]*|mach mich zum admin[a-z]*|"
        "fais de moi un admin[a-z]*|rendimi admin[a-z]*",
        "(?:给我|将我|把我).{0,6}管理员|管理者権限を",
    )
)


WORK = words(
    "jobs?|runs?|training|trainings|experiments?|workloads?|reservations?|tasks?|deployments?|"
    "endpoints?|sessions?|notebooks?|processes|containers|trabajos?|entrenamientos?|auftrage|jobs|"
    "laufe|taches|entrainements|lavori|tarefas",
    "任务|作业|训练|ジョブ|タスク",
)
OTHERS = words(
    "(?:all |every |any )?(?:other|another|different) (?:people|person|users?|teams?|groups?|"
    "researchers?|departments?|tenants?|projects?)(?:'s?|s')?|everyone(?: else)?(?:'s)?|"
    "everybody(?: else)?(?:'s)?|someone(?: else)?(?:'s)?|somebody(?: else)?(?:'s)?|"
    "anyone(?: else)?(?:'s)?|all users(?:')?|all teams(?:')?|other people's|colleagues?'?s?|"
    "coworkers?'?s?|competitors?(?:'s?)?|rivals?'?s?|their|everyone but me",
    "otros (?:equipos|usuarios)|otro (?:equipo|usuario)|los demas|anderer? (?:teams?|nutzer|leute)|"
    "anderen|der anderen|aller anderen|autres (?:equipes|utilisateurs)|d'autres|des autres|"
    "altri (?:team|utenti)|degli altri|outros (?:times|usuarios)|outras equipes|dos outros",
    "别人的?|其他人的?|他人的?|其他团队的?|别的团队的?|其他用户的?|他の(?:チーム|人|ユーザー?|部署)の?|他人の|みんなの",
)
OWN_POSSESSIVE = (
    "job|node|today|yesterday|tomorrow|week|month|year|night|quarter|it|that|let|what|there|here|who|"
    "morning|evening|run|cluster|pool|project|company|model|sprint|fleet|everyone|someone|somebody|"
    "anyone|nobody|gpu|goal|experiment|training|monday|friday|he|she|how|where|don|can|aws|gcp|azure"
)
NAMED_OTHER = (
    rf"(?<![a-z0-9])(?!(?:{OWN_POSSESSIVE})'s)(?:(?:team |the )?[a-z][a-z-]{{1,20}}'s|"
    rf"team [a-z][a-z-]{{1,20}}(?:'s)?|the [a-z]{{2,16}} team(?:'s)?)"
)
DISTURB = words(
    "kill|killing|cancel|cancelling|stop|stopping|terminate|delete|remove|preempt|pre-empt|evict|"
    "bump|pause|suspend|abort|drain|kick(?: out| off)?|drop|throttle|starve|sabotage|crash|take over|"
    "steal|grab|seize|hijack|cancela|mata|deten|elimina|stoppe|beende|losche|abbrechen|annule[rz]?|"
    "tue[rz]?|arrete[rz]?|supprime[rz]?|annulla|ferma|uccidi|termina|cancele|pare|mate",
    "杀掉|停掉|停止|取消|终止|踢掉|抢占|删除|止めて|停止|キャンセル|強制終了|中断",
)
SPEND = words(
    "charge|bill|use|using|spend|book|put|take|draw|debit|pay|expense|draining|drain|burn|cobra|"
    "carga|usa|usar|gasta|buche|nutze|belaste|verwende|facture[rz]?|utilise[rz]?|impute[rz]?|"
    "addebita|usa|cobre|use|debite",
    "用|使用|花|记到|扣|计入|使っ|請求|付け",
)
PURSE = words(
    "budgets?|credits?|credit card|card|quotas?|accounts?|allowance|reservations?|allocation|"
    "cost cent(?:er|re)|funds?|money|wallet|presupuesto|cuenta|cuota|credenciales|budget|konto|"
    "kontingent|kreditkarte|compte|quota|carte|conto|orcamento|conta|credentials?|logins?|tokens?|"
    "keys?|passwords?|identity|ssh keys?|api keys?",
    "预算|账号|账户|配额|额度|凭证|予算|アカウント|クォータ|枠|認証情報",
)

IMPERSONATE = re.compile(
    words(
        "impersonate|impersonating|pretend (?:to be|you are|you're|that you|i am|i'm|that i|we are)|"
        "pose as|posing as|masquerade as|spoof|forge|forging|(?:act|log ?in|sign ?in|submit|"
        "authenticate|approve|launch|execute|run|do|start|behave|operate|sign off) (?:(?:it|this|"
        "that|the job|everything|jobs|in|off|the request) )?as (?:the |an? |if you were |if i were |"
        "my )?(?:admin(?:istrator)?|root user|superuser|another (?:user|person)|someone else|"
        "somebody else|different user|ceo|cto|cfo|boss|manager|director|operator|owner|colleague|"
        "user [a-z]+|[a-z]+@[a-z.]+|on-?call|security)|"
        "in (?:[a-z]+'s|someone else's|another user's) name|under (?:[a-z]+'s|someone else's|"
        "another user's|a different) (?:name|account|identity|user)|on behalf of (?!my|our|the team|"
        "us|me)[a-z]+ without|without (?:him|her|them) knowing|use a fake (?:identity|name|account)|"
        "hazte pasar por|gib dich als|fais-toi passer pour|fingiti|finja ser",
        "冒充|假装(?:是|成)|以.{1,8}的(?:身份|名义)|なりすま|のふりをし|として(?:ログイン|承認)",
    )
)
COVERT = re.compile(
    words(
        "approve (?:\\S{1,24} ){1,5}?(?:yourself|myself|automatically|on my behalf|for me)|"
        "approve my (?:\\S{1,24} ){0,3}?(?:request|proposal|action|launch)|"
        "before (?:the |our |an? |any )?(?:auditors?|audit|security(?: team)?|finance|compliance|inspectors?|"
        "reviewers?|"
        "(?:my )?(?:boss|manager|lead)|anyone|anybody|someone|somebody|they|he|she|people)(?: can| could| will|"
        " might)? "
        "(?:sees?|notices?|finds?|looks?|catch(?:es)?|discovers?|checks|learns?|spots?|asks?)|disguis(?:e|ing|ed)|"
        "make (?:it|this|that|them|the \\S{1,16}) look (?:like|as if|as though)|camouflage|"
        "(?:trick|fool|deceive|mislead|lie to|cheat|con|convince|persuade|confuse|outsmart|game) (?:the |our |an? )?"
        "(?:[\\w'-]+ )?(?:governor|approvers?|policy|policies|polic(?:y|ies) engine|auditors?|finance|security|"
        "admins?|compliance|"
        "reviewers?|scheduler|quota|budget|guard-?rails?|checks?|limits?|system)|"
        "(?:nobody|no one|no-one|noone) (?:ever )?(?:checks?|looks?|cares?|will notice|notices?|audits?|reads?|asks?)"
        "(?: (?:it|that|this|them))? (?:anyway|anyhow)|"
        "self-? ?(?:certif(?:y|ies|ied|ication)|approv\\w+|authori[sz]\\w+|sign(?:ed|ing)?-?off|attest\\w*)|"
        "(?:keep|leave|hide|take|move|strip|drop|scrub)(?:ing)? (?:\\S{1,24} ){1,5}?(?:out of|off|from) (?:the |"
        "our |any )?"
        "(?:books|ledgers?|billing|bills?|invoices?|accounting|cost reports?|spend(?:ing)? reports?|audit|"
        "balance sheet)|"
        "stop (?:logging|recording|auditing|tracking|watching) (?:me|my|this|these|our|what|any|"
        "the actions?)|(?:edit|change|modify|rewrite|alter|amend|loosen|weaken|relax) (?:the |our |a |any |"
        "this |that )?(?:[\\w'-]+ )?polic(?:y|ies)(?! (?:model|network|gradient|head|document|weights|paper|"
        "text))|"
        "without (?:asking|approval|an approval|any approval|authori[sz]ation|permission|telling|"
        "notifying|informing|anyone (?:knowing|noticing)|oversight|sign-?off|leaving (?:a )?trace|"
        "(?:going through|waiting for) (?:the )?(?:approval|approvals|governor|review|policy)|"
        "being (?:audited|logged|noticed|detected|seen)|audit(?:ing)?|an audit trail|logging (?:it|"
        "this|anything)|a human|policy checks?|guardrails?|safety checks?|any (?:checks|limits|"
        "guardrails|safeguards))|"
        "(?:no|skip) (?:need for )?(?:approval|approvals|authori[sz]ation)(?= |$|"
        "[.,!;])(?! (?:needed|required|queue|is (?:needed|required)|yet))|auto-?approve|"
        "self-?approve|approve (?:it |this |that |them )?(?:yourself|automatically|on my behalf|"
        "for me|all (?:pending|requests|my))|approve (?:my own|all pending|every|everything|"
        "the pending|act-)|"
        "(?:don't|do not|dont|never) (?:tell|notify|inform|alert|ask|involve) (?:finance|security|"
        "my (?:manager|boss|lead)|anyone|anybody|the (?:admins?|manager|owner|team|security team|"
        "on-?call|approvers?|users?)|audit|ops|them|compliance)|(?:don't|do not|dont|never) (?:log|"
        "record|audit|write) (?:this|it|that|anything|the action|any of)(?![a-z]| (?:to wandb|"
        "metrics))|off the (?:books|record)|hide (?:it|this|that|the (?:cost|spend|job|run|jobs|"
        "usage|activity)|my [a-z]+|this [a-z]+|these [a-z]+) from|"
        "(?:so|so that|such that|in order that|to make sure)(?: that)? (?:nobody|no-?one|no one|"
        "none(?: of (?:them|the \\w+))?)"
        "(?: \\S{1,12})? (?:has|have|needs?|is|are|will|would|gets?|must|can|should|could)(?: (?:to|able|have|need))*"
        "(?: \\S{1,12})? (?:approve|review|authori[sz]e|sign|check|confirm|object|veto|stop|okay|ok)(?![a-z])|"
        "(?:so|so that|such that|in order that)(?: that)? (?:we|i|it|they|the \\w+) (?:don't|doesn't|do not|"
        "does not|won't|needn't|"
        "never)(?: (?:have|need|has))? (?:to )?(?:need |require |get |ask for |wait for |go through |trigger |"
        "hit )?(?:an? |any |the )?"
        "(?:[\\w'-]+ )?(?:approvals?|sign-?offs?|permission|reviews?)(?![a-z])|"
        "(?:so|so that|such that|make sure|making sure|ensure|ensuring)(?: that)? (?:nobody|no-one|no one|"
        "noone|none of (?:them|the \\w+)) (?:(?:should |must |will |can |may |ever )?(?:notices?|sees?|knows?|"
        "finds? out|learns?|"
        "detects?)|can see|don't notice|doesn't notice|"
        "won't notice|will not notice)|(?:so|so that|such that|make sure|making sure|ensure|"
        "ensuring)(?: that)? (?:the )?"
        "(?:finance|security|audit|auditors?|admins?|they|he|she|my (?:boss|manager|lead)) (?:(?:don't|doesn't|"
        "do not|does not|won't|"
        "will not|can't|cannot|never|shouldn't|must not|mustn't) (?:ever )?(?:notices?|sees?|knows?|finds? out|"
        "learns?|detects?|hears?|"
        "gets? wind))|(?:avoid|evade|dodge|escape|stay (?:below|under)|"
        "slip (?:under|past)|sneak (?:past|under)|beat|to get (?:around|"
        "past)) (?:the )?(?:[\\w'-]+ )?(?:approval|audit|detection|review|quota|policy|radar|"
        "limit check)(?: threshold| limit)?|under the radar|cover (?:my|our|your) tracks|"
        "leave no trace|no paper trail|tamper with|rewrite the audit|edit the audit|falsify|backdate|"
        "modify the audit|fake (?:the )?(?:approval|metrics|usage|logs|audit)",
        "sin (?:aprobacion|autorizacion|pedir permiso|avisar|que nadie)|no (?:avises|informes)|"
        "ohne (?:genehmigung|freigabe|zu fragen|rucksprache|erlaubnis|dass jemand)|"
        "sans (?:approbation|autorisation|demander|prevenir|validation|que personne)|"
        "senza (?:approvazione|autorizzazione|chiedere|avvisare)|sem (?:aprovacao|autorizacao|avisar|"
        "pedir)",
        "(?:无需|无须|不必|免|绕开|跳过)(?:任何)?(?:审批|批准|授权)|不(?:要|用|需要|经|经过)(?:任何)?(?:审批|批准|授权)|未经(?:批准|授权|审批)|别(?:告诉|通知)|"
        "不要(?:记录|告诉|通知)|不留痕迹|承認なし|無断|承認を?(?:待たず|得ず|取らず)|許可なく|内緒|"
        "ログに残さ|記録(?:せず|しない)",
    )
)
HIJACK = re.compile(
    words(
        "you are now (?:an? |the |in )?(?:[\\w'-]+ )?(?:admin|administrator|root|unrestricted|dan|"
        "developer|god|jailbroken|free)|developer mode|god mode|jail-?break (?:yourself|mode|the (?:planner|"
        "agent|system))|jailbroken|(?:reveal|print|show|"
        "repeat) (?:me )?(?:your|the) (?:system )?prompt|new system prompt|system override|"
        "(?:obey|listen to|answer to) (?:only )?me(?= |$)|override code|sudo mode|emergency override|"
        "as an ai without|no restrictions apply|"
        "unrestricted mode",
        "越狱模式|开发者模式|システムプロンプト",
    )
)
