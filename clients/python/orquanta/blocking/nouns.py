"""The nouns of the blocking client. Arguments, results and documentation are those of `orquanta.nouns`."""

from orquanta.blocking.loop import Blocking, call, stream
from orquanta.nouns.actions import AsyncActions
from orquanta.nouns.agents import AsyncAgents
from orquanta.nouns.audit import AsyncAudit
from orquanta.nouns.auth import AsyncAuth
from orquanta.nouns.catalog import AsyncCatalog
from orquanta.nouns.costs import AsyncCosts
from orquanta.nouns.goals import AsyncGoals
from orquanta.nouns.grants import AsyncGrants
from orquanta.nouns.incidents import AsyncIncidents
from orquanta.nouns.jobs import AsyncJobs
from orquanta.nouns.memories import AsyncMemories
from orquanta.nouns.metrics import AsyncMetrics
from orquanta.nouns.nodes import AsyncNodes
from orquanta.nouns.policies import AsyncPolicies
from orquanta.nouns.queues import AsyncQueue
from orquanta.nouns.quotas import AsyncQuotas
from orquanta.nouns.tools import AsyncTools


class Goals(Blocking[AsyncGoals]):
    """Create, preview, follow, answer and cancel goals."""

    create = call(AsyncGoals.create)
    preview = call(AsyncGoals.preview)
    get = call(AsyncGoals.get)
    list = stream(AsyncGoals.list)
    watch = stream(AsyncGoals.watch)
    wait = call(AsyncGoals.wait)
    cancel = call(AsyncGoals.cancel)
    answer = call(AsyncGoals.answer)


class Jobs(Blocking[AsyncJobs]):
    """Submit, follow and cancel jobs, and read their output."""

    submit = call(AsyncJobs.submit)
    get = call(AsyncJobs.get)
    list = stream(AsyncJobs.list)
    watch = stream(AsyncJobs.watch)
    wait = call(AsyncJobs.wait)
    logs = stream(AsyncJobs.logs)
    cancel = call(AsyncJobs.cancel)
    diagnose = call(AsyncJobs.diagnose)
    templates = call(AsyncJobs.templates)


class Queue(Blocking[AsyncQueue]):
    """Look at the queue, and ask why a job waits or runs where it runs."""

    head = call(AsyncQueue.head)
    watch = stream(AsyncQueue.watch)
    list = stream(AsyncQueue.list)
    explain = call(AsyncQueue.explain)
    simulate = call(AsyncQueue.simulate)


class Quotas(Blocking[AsyncQuotas]):
    """Look at teams, make and change them, and put accounts into them."""

    list = call(AsyncQuotas.list)
    set = call(AsyncQuotas.set)
    remove = call(AsyncQuotas.remove)
    assign = call(AsyncQuotas.assign)


class Nodes(Blocking[AsyncNodes]):
    """Look at nodes, repair them, take them out of service, let hosts join."""

    get = call(AsyncNodes.get)
    list = stream(AsyncNodes.list)
    watch = stream(AsyncNodes.watch)
    cordon = call(AsyncNodes.cordon)
    uncordon = call(AsyncNodes.uncordon)
    drain = call(AsyncNodes.drain)
    repair = call(AsyncNodes.repair)
    verify = call(AsyncNodes.verify)
    quarantine = call(AsyncNodes.quarantine)
    release = call(AsyncNodes.release)
    acknowledge_condition = call(AsyncNodes.acknowledge_condition)
    clear_condition = call(AsyncNodes.clear_condition)
    revoke = call(AsyncNodes.revoke)
    create_join_token = call(AsyncNodes.create_join_token)
    list_join_tokens = stream(AsyncNodes.list_join_tokens)
    revoke_join_token = call(AsyncNodes.revoke_join_token)


class Incidents(Blocking[AsyncIncidents]):
    """Look at incidents, follow them, say that a person has seen them."""

    get = call(AsyncIncidents.get)
    list = stream(AsyncIncidents.list)
    watch = stream(AsyncIncidents.watch)
    acknowledge = call(AsyncIncidents.acknowledge)


class Actions(Blocking[AsyncActions]):
    """Look at what was proposed, approve or reject it, stop everything."""

    get = call(AsyncActions.get)
    list = stream(AsyncActions.list)
    watch = stream(AsyncActions.watch)
    approve = call(AsyncActions.approve)
    reject = call(AsyncActions.reject)
    undo = call(AsyncActions.undo)
    stop_all = call(AsyncActions.stop_all)
    resume_all = call(AsyncActions.resume_all)
    kill_switch = call(AsyncActions.kill_switch)


class Grants(Blocking[AsyncGrants]):
    """Give approvals beforehand, look at what is left of them, take them back."""

    create = call(AsyncGrants.create)
    get = call(AsyncGrants.get)
    list = stream(AsyncGrants.list)
    revoke = call(AsyncGrants.revoke)


class Agents(Blocking[AsyncAgents]):
    """Look at agents, pause and resume them; follow what they think and do."""

    list = call(AsyncAgents.list)
    get = call(AsyncAgents.get)
    pause = call(AsyncAgents.pause)
    resume = call(AsyncAgents.resume)
    models = call(AsyncAgents.models)
    replicas = call(AsyncAgents.replicas)
    pause_all = call(AsyncAgents.pause_all)
    resume_all = call(AsyncAgents.resume_all)
    run = call(AsyncAgents.run)
    runs = stream(AsyncAgents.runs)
    watch = stream(AsyncAgents.watch)
    stop_run = call(AsyncAgents.stop_run)


class Audit(Blocking[AsyncAudit]):
    """Read the audit, verify it, take a copy of it."""

    list = stream(AsyncAudit.list)
    export = stream(AsyncAudit.export)
    checkpoints = stream(AsyncAudit.checkpoints)
    verify = call(AsyncAudit.verify)
    erase = call(AsyncAudit.erase)


class Policies(Blocking[AsyncPolicies]):
    """Look at the policies in force; check, test and try others."""

    get = call(AsyncPolicies.get)
    validate = call(AsyncPolicies.validate)
    test = call(AsyncPolicies.test)
    explain = call(AsyncPolicies.explain)
    replay = call(AsyncPolicies.replay)


class Auth(Blocking[AsyncAuth]):
    """Log in, manage accounts and API keys."""

    login = call(AsyncAuth.login)
    who_am_i = call(AsyncAuth.who_am_i)
    change_password = call(AsyncAuth.change_password)
    create_user = call(AsyncAuth.create_user)
    list_users = stream(AsyncAuth.list_users)
    update_user = call(AsyncAuth.update_user)
    create_api_key = call(AsyncAuth.create_api_key)
    list_api_keys = stream(AsyncAuth.list_api_keys)
    revoke_api_key = call(AsyncAuth.revoke_api_key)


class Memories(Blocking[AsyncMemories]):
    """Search what the fleet remembers, forget some of it, take it along and bring it."""

    search = call(AsyncMemories.search)
    get = call(AsyncMemories.get)
    list = stream(AsyncMemories.list)
    forget = call(AsyncMemories.forget)
    export = stream(AsyncMemories.export)
    import_ = call(AsyncMemories.import_)
    status = call(AsyncMemories.status)


class Metrics(Blocking[AsyncMetrics]):
    """Read figures and telemetry."""

    fleet = call(AsyncMetrics.fleet)
    telemetry = call(AsyncMetrics.telemetry)
    rollups = call(AsyncMetrics.rollups)


class Catalog(Blocking[AsyncCatalog]):
    """Read prices."""

    prices = call(AsyncCatalog.prices)


class Costs(Blocking[AsyncCosts]):
    """Add up what was spent."""

    spent = call(AsyncCosts.spent)


class Tools(Blocking[AsyncTools]):
    """See which tools agents have, and call them."""

    list = call(AsyncTools.list)
    call = call(AsyncTools.call)
