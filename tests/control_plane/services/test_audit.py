"""The audit over the real server: exported, verified where nobody can meddle, and erased."""

import grpc

from control_plane.store import checkpoints
from orquanta.ledger import wire
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.signatures import Signer
from orquanta.ledger.verify import FaultKind, Verdict, Verifier
from orquanta.v1 import audit_pb2, goal_pb2, job_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused

SIGNER = Signer(bytes(range(32)))


async def exported(client: Client, from_id: int = 0) -> tuple[audit_pb2.AuditExportStart, list[LedgerRecord]]:
    """Take a whole export."""
    start = audit_pb2.AuditExportStart()
    records: list[LedgerRecord] = []
    async for response in client.audit.ExportAudit(audit_pb2.ExportAuditRequest(from_id=from_id)):
        if response.HasField("start"):
            start.CopyFrom(response.start)
        records.extend(wire.read_record(one) for one in response.records)
    return start, records


async def sign(fleet: Fleet, records: list[LedgerRecord]) -> Checkpoint:
    """Sign these records, as the auditor would."""
    tree = Frontier()
    for one in records:
        tree.append(one.hash)
    signed = SIGNER.sign(tree.size, tree.root(), fleet.clock.now())
    await fleet.store.write(lambda tx: checkpoints.insert_checkpoint(tx, signed, tree.subtrees))
    return signed


async def test_an_export_verifies_by_itself_and_an_operator_gets_it_alone(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    for _ in range(3):
        await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    assert (await refused(anext(aiter(user.audit.ExportAudit(audit_pb2.ExportAuditRequest()))))).code is (
        grpc.StatusCode.PERMISSION_DENIED
    )

    start, records = await exported(operator)

    assert start.public_key == SIGNER.public_key
    verifier = Verifier(SIGNER.public_key, [], wire.read_start(start))
    for one in records:
        verifier.feed(one)
    assert verifier.finish().intact
    assert verifier.finish().records == len(records) >= 3


async def test_an_export_can_go_on_after_a_checkpoint_and_nowhere_else(fleet: Fleet, operator: Client) -> None:
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    _, before = await exported(operator)
    signed = await sign(fleet, before)
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))

    start, after = await exported(operator, from_id=signed.size + 1)

    assert after[0].id == signed.size + 1
    verifier = Verifier(SIGNER.public_key, [signed], wire.read_start(start))
    for one in after:
        verifier.feed(one)
    assert verifier.finish().intact
    request = audit_pb2.ExportAuditRequest(from_id=signed.size + 2)
    assert (await refused(anext(aiter(operator.audit.ExportAudit(request))))).reason == "EXPORT_START_UNKNOWN"


async def test_the_server_verifies_its_log_against_a_checkpoint_that_was_kept(fleet: Fleet, operator: Client) -> None:
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    _, records = await exported(operator)
    good = await sign(fleet, records)

    assert (await operator.audit.VerifyAudit(audit_pb2.VerifyAuditRequest())).intact
    kept = audit_pb2.VerifyAuditRequest(against=wire.write_checkpoint(good))
    assert (await operator.audit.VerifyAudit(kept)).intact
    other = SIGNER.sign(good.size, bytes(32), fleet.clock.now())
    answer = await operator.audit.VerifyAudit(audit_pb2.VerifyAuditRequest(against=wire.write_checkpoint(other)))
    assert (answer.intact, answer.fault) == (False, "fork")
    longer = SIGNER.sign(good.size + 5, bytes(32), fleet.clock.now())
    answer = await operator.audit.VerifyAudit(audit_pb2.VerifyAuditRequest(against=wire.write_checkpoint(longer)))
    assert (answer.intact, answer.fault) == (False, "truncation")


async def test_an_admin_erases_what_a_person_wrote(fleet: Fleet, user: Client, operator: Client, admin: Client) -> None:
    text = "Run `python secret-plan.py` on 1 H100 for 1 hour"
    await user.goals.CreateGoal(goal_pb2.CreateGoalRequest(text=text))
    assert user.user
    found = await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(text="secret-plan"))
    assert found.records

    request = audit_pb2.EraseAuditTextRequest(user_id=user.user.email, reason="they asked", request_id="e-1")
    count = (await admin.audit.EraseAuditText(request)).records
    again = (await admin.audit.EraseAuditText(request)).records

    assert count == again >= 1
    found = await operator.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest(text="secret-plan"))
    assert not found.records
    assert (await operator.audit.VerifyAudit(audit_pb2.VerifyAuditRequest())).intact
    assert (await refused(operator.audit.EraseAuditText(request))).code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_bad_erasure_is_refused(admin: Client) -> None:
    both = audit_pb2.EraseAuditTextRequest(user_id="a@x", record_id=1)
    assert (await refused(admin.audit.EraseAuditText(both))).reason == "FIELD_MISSING"
    neither = audit_pb2.EraseAuditTextRequest()
    assert (await refused(admin.audit.EraseAuditText(neither))).reason == "FIELD_MISSING"
    nobody = audit_pb2.EraseAuditTextRequest(user_id="nobody@nowhere.example")
    assert (await refused(admin.audit.EraseAuditText(nobody))).reason == "USER_NOT_FOUND"


async def verified(client: Client) -> Verdict:
    """Verify an export part by part, in the order in which it comes."""
    verifier: Verifier | None = None
    async for response in client.audit.ExportAudit(audit_pb2.ExportAuditRequest()):
        if response.HasField("start"):
            verifier = Verifier(SIGNER.public_key, [], wire.read_start(response.start))
        assert verifier is not None
        for record in response.records:
            verifier.feed(wire.read_record(record))
        verifier.expect([wire.read_checkpoint(one) for one in response.checkpoints])
    assert verifier is not None
    return verifier.finish()


async def test_an_export_holds_records_to_every_checkpoint_even_where_the_log_was_cut_off(
    fleet: Fleet, operator: Client
) -> None:
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    _, first = await exported(operator)
    await sign(fleet, first)
    await operator.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    _, second = await exported(operator)
    verdict = await verified(operator)
    assert verdict.intact
    assert (verdict.checkpoints, verdict.signed_id) == (1, len(first))

    tree = Frontier()
    for one in second:
        tree.append(one.hash)
    tree.append(bytes(32))
    signed = SIGNER.sign(tree.size, tree.root(), fleet.clock.now())
    await fleet.store.write(lambda tx: checkpoints.insert_checkpoint(tx, signed, tree.subtrees))

    fault = (await verified(operator)).fault
    assert fault is not None
    assert (fault.kind, fault.at_id) == (FaultKind.TRUNCATION, second[-1].id)
