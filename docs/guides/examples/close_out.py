"""Starts a run, watches it, answers its questions, and says what it did."""

import os
import sys
import time
import uuid

import grpc
from steward.guard.v1 import approval_service_pb2 as guard
from steward.guard.v1 import approval_service_pb2_grpc as guard_grpc
from steward.run.v1 import run_service_pb2 as runs
from steward.run.v1 import run_service_pb2_grpc as runs_grpc

RUN_API = os.environ.get("STEWARD_ADDRESS", "127.0.0.1:7710")
GUARD = os.environ.get("STEWARD_GUARD_ADDRESS", "127.0.0.1:7711")
CALL_SECONDS = 10
# A stream that breaks so often in a row is given up.
ATTEMPTS = 10


def bearer(variable, path):
    with open(os.environ.get(variable, path), encoding="utf-8") as file:
        return [("authorization", "Bearer " + file.read().strip())]


def events(stub, run_id, metadata):
    """Every event once and in order; a stream that breaks is taken up where it stood."""
    seen, failures = 0, 0
    while True:
        try:
            request = runs.WatchRunRequest(run_id=run_id, after_sequence=seen)
            for answer in stub.WatchRun(request, metadata=metadata, timeout=3600):
                if answer.WhichOneof("item") != "event":
                    continue
                seen, failures = answer.event.sequence, 0
                yield answer.event
                if answer.event.kind == "run.closed":
                    return
        except grpc.RpcError as error:
            failures += 1
            if failures >= ATTEMPTS or error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
        time.sleep(0.5)


def approve(stub, run_id, metadata):
    listed = stub.ListApprovals(guard.ListApprovalsRequest(run_id=run_id), metadata=metadata, timeout=CALL_SECONDS)
    for approval in listed.approvals:
        print("  ", approval.tool, approval.args_json)
        decision = guard.Decision(
            approval_id=approval.id,
            answer=guard.ANSWER_APPROVE,
            digest=approval.digest,  # exactly the call that was read
            reason="looked at it",
        )
        try:
            request = guard.DecideRequest(request_id=approval.id, decision=decision)
            stub.Decide(request, metadata=metadata, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            # Somebody else was first, or it is void by now: the run goes on either way.
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise


def main():
    service = bearer("SERVICE_TOKEN", "/tmp/service.token")
    approver = bearer("APPROVER_TOKEN", "/tmp/approver.token")
    with grpc.insecure_channel(RUN_API) as to_runs, grpc.insecure_channel(GUARD) as to_guard:
        run_stub = runs_grpc.RunServiceStub(to_runs)
        guard_stub = guard_grpc.ApprovalServiceStub(to_guard)
        # The same request id again gives the same run: use an id of your own record.
        request = runs.StartRunRequest(
            request_id=os.environ.get("REQUEST_ID", str(uuid.uuid4())),
            agent="release-closer",
            input="Close out the Apollo release.",
            labels={"order": "o-17"},
        )
        try:
            run = run_stub.StartRun(request, metadata=service, timeout=CALL_SECONDS).run
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
        print("run", run.id)
        for event in events(run_stub, run.id, service):
            print(event.sequence, event.kind)
            if event.kind == "approval.asked":
                approve(guard_stub, run.id, approver)
        ended = run_stub.GetRun(runs.GetRunRequest(run_id=run.id), metadata=service, timeout=CALL_SECONDS)
        print(runs.RunStatus.Name(ended.run.status), ended.run.outcome)
        for effect in ended.effects:
            print("  ", effect.tool, effect.change.summary, "approved by", effect.approved_by)
        print("cost", ended.run.cost.settled_micro_usd / 1_000_000, "USD")


main()
