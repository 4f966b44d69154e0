"""Why an incident is: by rules first, and where they end by a model, beside the healing and never in its way."""

from typing import Final

from control_plane.fleet.failures.hardware import cause_of
from control_plane.fleet.incident_causes import CAUSES, basis, explain, in_question, where_rules_end
from control_plane.fleet.incident_shown import of_incident
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import IncidentId
from control_plane.model.incident import Incident
from control_plane.reasoning.contract import Purpose
from control_plane.store import conditions, diagnoses, incidents
from control_plane.store.database import Store, Tx
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.diagnosing import AGENT, ANSWER_SECONDS, Asker, Subject, told
from control_plane.tools.model_cause import CauseQuestion
from control_plane.tools.telemetry_facts import gpu_facts

_CHANGES: Final = 60


def explanation(tx: Tx, incident: Incident) -> Diagnosis:
    """Return why an incident is, without asking anybody: a model's answer that is kept counts where rules end."""
    rules = explain(incident)
    if not where_rules_end(incident):
        return rules
    return told(rules, diagnoses.get(tx, diagnoses.incident_subject(incident.id)))


async def ask(
    store: Store, telemetry: TelemetryWindows, asker: Asker, incident_id: IncidentId
) -> tuple[Diagnosis, str] | None:
    """Have a model asked about an incident where rules end, if it may be asked now; None where they do not.

    With the diagnosis comes what an answer rests on now.
    """

    def read(tx: Tx) -> tuple[Incident, CauseQuestion] | None:
        incident = incidents.get(tx, incident_id)
        if incident is None or incident.conditions == () or not where_rules_end(incident):
            return None
        changes = conditions.history(tx, incident.node_id, limit=_CHANGES)
        uuids = incident.gpu_uuids or tuple(
            dict.fromkeys(one.gpu_uuid for one in in_question(incident) if one.gpu_uuid)
        )
        facts = gpu_facts(telemetry, incident.node_id, incident.node_name, uuids)
        codes = sorted({cause_of(one) for one in incident.conditions})
        return incident, CauseQuestion(
            about=f"A host is ill; its incident is {incident.state.value}: {incident.status_reason}",
            rules=explain(incident),
            pieces=of_incident(incident, changes, facts),
            causes=(*codes, *CAUSES),
        )

    found = await store.read(read)
    if found is None:
        return None
    incident, question = found
    subject = Subject(
        diagnoses.incident_subject(incident_id), basis(incident), Purpose(AGENT), node_id=incident.node_id
    )
    return await asker.answer(subject, question, may_ask=True, seconds=ANSWER_SECONDS), subject.basis
