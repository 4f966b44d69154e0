"""How far reasoning runs may go, as the settings say, and where they learn why a job failed."""

from collections.abc import Awaitable, Callable

from control_plane.agents.incidents.analyst import Analyst
from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.agents.orchestrator.runs.ports import Diagnoser
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.identity import Principal
from control_plane.model.ids import JobId
from control_plane.model.run import RunUsage
from control_plane.settings import Settings
from control_plane.store.database import Store
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.diagnosing import Asker
from control_plane.tools.job_diagnoses import JobDiagnoses


def run_policy(settings: Settings) -> RunPolicy:
    """Return what bounds every run."""
    return RunPolicy(
        limits=RunUsage(
            turns=settings.run_turns_max,
            tool_calls=settings.run_tool_calls_max,
            input_tokens=settings.run_input_tokens_max,
            output_tokens=settings.run_output_tokens_max,
            cost_usd=settings.run_cost_max_usd,
            seconds=settings.run_seconds_max,
        ),
        replans=settings.run_replans_max,
    )


def diagnoser(diagnoses: JobDiagnoses) -> Diagnoser:
    """Return what tells why a job failed: by rules, and by a model where they end."""

    async def diagnose(principal: Principal, job_id: JobId) -> Diagnosis:
        _, found = await diagnoses.of_job(principal, job_id)
        return found

    return diagnose


def analysts(store: Store, telemetry: TelemetryWindows, asker: Asker) -> list[Callable[[], Awaitable[None]]]:
    """Return what has models asked about incidents; nobody, without a model."""
    return [Analyst(store, telemetry, asker).run] if asker.exists else []
